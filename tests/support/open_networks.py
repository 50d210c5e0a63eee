"""Networks whose height, width or batch is open, as exporters write them."""

from typing import Final

import onnx

from tests.support.models import model_from_text

HEAD: Final = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[{batch}, 3, H, W] x) => (float[N, C, P, Q] y)
"""

# What exporters write for sizes that are not known, and what decides by sizes in the compiler.
NETWORKS: Final = {
    "convolutions, pools and nearest upsampling": """
<float[8, 3, 3, 3] w, float[8] b, float[8] gamma, float[8] beta, float[8] mean, float[8] var,
 float[8, 8, 3, 3] v, float[4, 16, 1, 1] u, float[4] scales = {1, 1, 2, 2}>
{ c = Conv<pads = [1, 1, 1, 1]>(x, w, b)
  n = BatchNormalization(c, gamma, beta, mean, var)
  r = Relu(n)
  p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r)
  d = Conv<pads = [1, 1, 1, 1]>(p, v)
  s = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric",
             nearest_mode = "floor">(d, , scales)
  j = Concat<axis = 1>(s, r)
  y = Conv(j, u) }""",
    "a resize to the size of another tensor": """
<float[6, 3, 3, 3] w, float[4, 6, 1, 1] u, int64[1] zero = {0}, int64[1] two = {2},
 int64[1] four = {4}>
{ c = Conv<pads = [1, 1, 1, 1]>(x, w)
  p = AveragePool<kernel_shape = [4, 4], strides = [4, 4]>(c)
  whole = Shape(x)
  size = Slice(whole, two, four, zero)
  own = Shape(p)
  front = Slice(own, zero, two, zero)
  sizes = Concat<axis = 0>(front, size)
  s = Resize<mode = "linear", coordinate_transformation_mode = "half_pixel">(p, , , sizes)
  a = Add(s, c)
  r = LeakyRelu<alpha = 0.1>(a)
  y = Conv(r, u) }""",
    "attention over all pixels": """
<float[8, 3, 1, 1] w, float[8, 8] k, float[8, 8] q, int64[3] flat = {0, 8, -1}, int64[1] zero = {0},
 int64[1] two = {2}, int64[1] four = {4}, int64[2] front = {-1, 8}, float scale = {0.1}>
{ c = Conv(x, w)
  f = Reshape(c, flat)
  t = Transpose<perm = [0, 2, 1]>(f)
  keys = MatMul(t, k)
  queries = MatMul(t, q)
  turned = Transpose<perm = [0, 2, 1]>(keys)
  scores = MatMul(queries, turned)
  scaled = Mul(scores, scale)
  weights = Softmax<axis = -1>(scaled)
  mixed = MatMul(weights, t)
  back = Transpose<perm = [0, 2, 1]>(mixed)
  whole = Shape(x)
  size = Slice(whole, two, four, zero)
  target = Concat<axis = 0>(front, size)
  y = Reshape(back, target) }""",
    "squeeze and excitation": """
<float[8, 3, 3, 3] w, float[4, 8, 1, 1] down, float[8, 4, 1, 1] up, float[2, 8, 3, 3] v>
{ c = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(x, w)
  r = HardSwish(c)
  m = ReduceMean<axes = [2, 3], keepdims = 1>(r)
  a = Conv(m, down)
  b = Relu(a)
  e = Conv(b, up)
  s = Sigmoid(e)
  o = Mul(r, s)
  t = Transpose<perm = [1, 0, 2, 3]>(v)
  y = ConvTranspose<strides = [2, 2], pads = [1, 1, 1, 1]>(o, t) }""",
    "padding that depends on the size": """
<float[4, 3, 3, 3] w, float[4, 4, 5, 5] v, float[4] slope>
{ c = Conv<auto_pad = "SAME_UPPER", strides = [2, 2]>(x, w)
  n = Neg(c)
  r = Relu(c)
  q = Conv<pads = [4, 4, 4, 4], dilations = [2, 2]>(r, v)
  i = Add(q, n)
  y = Clip(i) }""",
    "normalisation by the size": """
<float[4, 3, 1, 1] w, float[4] one, float[4] nought, int64[1] axis = {2}>
{ c = Conv(x, w)
  n = InstanceNormalization(c, one, nought)
  shape = Shape(n)
  rows = Gather<axis = 0>(shape, axis)
  count = Cast<to = 1>(rows)
  d = Div(n, count)
  zeros = ConstantOfShape(shape)
  z = Add(d, zeros)
  y = Tanh(z) }""",
}


def network(name: str, *, batch: int | str = 1) -> onnx.ModelProto:
    """One of `NETWORKS`, with a batch of fixed size or of this name."""
    return model_from_text(HEAD.format(batch=batch) + NETWORKS[name])
