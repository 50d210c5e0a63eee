"""Int8 calibration: histograms of activations, threshold rules and quantization ranges.

Arithmetic on arrays alone: nothing here knows ONNX, build files or engines.
"""
