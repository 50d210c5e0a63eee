"""Checkpoint and fixed shapes in, checked graph out: one module per `frontend.type`.

`load_onnx` is the whole of it; its neighbours are its steps, one file each:

1. `read_weights`: values out of the file, or out of external data beside it.
2. `fix_shapes`: input shapes from `frontend.shape`, checked against the network.
3. `convert_opset`: opsets 7 to 16 become 17.
4. `widen_float16`: float16 networks become float32; what the build file asks for is decided later.
"""
