"""Decide which nodes run on integers and where every int8 scale comes from.

A node that does heavy arithmetic (Conv, Gemm, MatMul) is worth quantizing its inputs for. Any other
node joins when it lies on a way from one heavy integer node to another, so that no tensor is
rounded for the sake of an addition alone. Operators that only move values join wherever they touch
such a node: moving bytes is cheaper and rounds nothing.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

import numpy as np
import onnx_graphsurgeon as gs

from compiler.graph.query import only_reader, origin_of, output_ids, producer
from compiler.quantize.layers import Kind, list_layers, pick_layers
from compiler.quantize.op_rules import (
    OP_RULES,
    Kernel,
    OpRule,
    ScaleFrom,
    activations,
    clip_bounds,
    find_rule,
)
from compiler.quantize.weights import WeightScale

_DENSE, _BATCH_MATMUL = "MatMul with a weight", "MatMul of two activations"

_FOREIGN_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # Names of TVM calls that occur in build files; an empty entry has no ONNX counterpart.
        "nn.conv1d": ("Conv",),
        "nn.conv2d": ("Conv",),
        "nn.dense": (_DENSE, "Gemm"),
        "nn.vacc_matmul": (_DENSE, "Gemm"),
        "nn.batch_matmul": (_BATCH_MATMUL,),
        "nn.vacc_batch_matmul": (_BATCH_MATMUL,),
        "nn.max_pool2d": ("MaxPool",),
        "nn.avg_pool2d": ("AveragePool",),
        "nn.global_avg_pool2d": ("GlobalAveragePool",),
        "nn.leaky_relu": ("LeakyRelu",),
        "nn.softmax": ("Softmax",),
        "add": ("Add",),
        "multiply": ("Mul",),
        "multiply2affine": ("Mul", "Add"),
        "sigmoid": ("Sigmoid",),
        "concatenate": ("Concat",),
        "vacc_bert_proportion": (),
    }
)


# ONNX Runtime would merge these with a Gemm that returns floats, into a float kernel.
_FUSED_INTO_GEMM = frozenset(
    {"Elu", "HardSigmoid", "LeakyRelu", "Relu", "Selu", "Sigmoid"}
    | {"Softplus", "Softsign", "Tanh", "ThresholdedRelu"}
)

_ON_BYTES = (Kernel.INTEGER, Kernel.BY_HAND)

_WIDE = "16-bit activations: this engine computes them in float"


@dataclass(frozen=True, slots=True)
class Int8Options:
    """What the build file says about quantization.

    Args:
        per_channel: One weight scale per output channel instead of one per tensor.
        weight_scale: "max" spans max|w|; "power2" the next power of two; "mse" what rounds least.
        reduce_range: Weights of 7 bits, for CPUs without VNNI, whose 16-bit sums would saturate.
        skip_conv_layers: Numbers, names or globs of 2-D convolutions that stay float.
        skip_matmul_layers: The same for MatMul and Gemm.
        exclude_layers: The same for all layers, numbered as `list_layers` numbers them.
        uint16_layers: The same for layers whose activations take 16 bits.
        quantize_operators: Operator types, ONNX or TVM names: "!x" keeps type x float; names
            without "!" keep every other type float, except those that only move values.
        ops_usingfp: Operator types that stay float.
    """

    per_channel: bool = True
    weight_scale: WeightScale = "max"
    reduce_range: bool = False
    skip_conv_layers: tuple[int | str, ...] = ()
    skip_matmul_layers: tuple[int | str, ...] = ()
    exclude_layers: tuple[int | str, ...] = ()
    uint16_layers: tuple[int | str, ...] = ()
    quantize_operators: tuple[str, ...] = ()
    ops_usingfp: tuple[str, ...] = ()


class Form(Enum):
    """How a node is meant to run."""

    INTEGER = "integer"
    FUSED = "fused"
    FLOAT = "float"


@dataclass(frozen=True, slots=True)
class NodePlan:
    """Decision about one node.

    Args:
        node: Name of the node.
        op: ONNX operator type.
        form: INTEGER, FUSED into the integer node before it, or FLOAT.
        reason: Why it stays float; what it is fused into; else empty.
        output: Tensor that the node, with what is fused into it, hands on.
    """

    node: str
    op: str
    form: Form
    reason: str
    output: str


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """Where the scale of one uint8 tensor comes from.

    Args:
        source: OWN: calibrated; INPUT: as `of[0]`; UNION: covers `of`; UNIT: 1/256;
            BYTES: 1, cast from uint8; VALUES: a constant, scaled by its own values.
        of: Names of the tensors it depends on.
        joins: For UNION: tensors that nothing but this Concat reads. They can take its scale,
            which saves the rounding from their own scale to the common one.
        upper: Bound of a Clip that the quantizer stands for: 255 * scale must not exceed it.
        zero_based: The quantizer stands for a Relu or Clip: the zero point must be 0.
    """

    source: ScaleFrom
    of: tuple[str, ...] = ()
    joins: tuple[str, ...] = ()
    upper: float = float("inf")
    zero_based: bool = False


@dataclass(frozen=True, slots=True)
class WidePlan:
    """Tensors of a node with 16-bit activations.

    Args:
        inputs: Names of the activations that it reads, constants left out.
        outputs: Names of the tensors that it, with an activation function behind it, hands on.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Int8Plan:
    """Everything `insert_qdq` needs, except the calibrated ranges.

    Args:
        options: The options it was made with.
        nodes: One decision per node, in graph order.
        tensors: Every tensor that is stored as uint8, in graph order.
        biases: Node name of a MatMul -> node name of the Add that carries its bias.
        warnings: Options that name nothing.
        wide: Node name -> its tensors, for the float nodes whose activations take 16 bits.
    """

    options: Int8Options
    nodes: tuple[NodePlan, ...]
    tensors: Mapping[str, TensorPlan]
    biases: Mapping[str, str]
    warnings: tuple[str, ...]
    wide: Mapping[str, WidePlan] = field(default_factory=dict)

    @property
    def observed(self) -> tuple[str, ...]:
        """Tensors that need a calibrated range: those of 8 bits in graph order, then the others."""
        own = [name for name, plan in self.tensors.items() if plan.source is ScaleFrom.OWN]
        wide = [name for node in self.wide.values() for name in (*node.inputs, *node.outputs)]
        return tuple(dict.fromkeys([*own, *(name for name in wide if name not in self.tensors)]))

    @property
    def integer_nodes(self) -> tuple[NodePlan, ...]:
        """Nodes that are to run on integers, in graph order."""
        return tuple(node for node in self.nodes if node.form is Form.INTEGER)


@dataclass(frozen=True, slots=True)
class KeptFloat:
    """What the options keep in float.

    Args:
        reasons: Name of a node, or of the one that it stands for -> why it stays float.
        light: Names of the nodes whose operator may run on integers but is not worth it alone.
        warnings: Options that name nothing.
    """

    reasons: Mapping[str, str]
    light: frozenset[str]
    warnings: tuple[str, ...]

    def reason(self, node: gs.Node) -> str | None:
        """Why a node stays float, if it does."""
        return self.reasons.get(node.name) or self.reasons.get(origin_of(node.name))


def find_kept_float(graph: gs.Graph, options: Int8Options) -> KeptFloat:
    """What the options keep in float, by the layers of `graph`.

    Numbers and names mean the network's own layers: ask before rewrites change the graph. What a
    rewrite drafts in the place of a node stays float with it, and is no heavier than it.
    """
    reasons, warnings = _excluded(graph, options)
    rules = ((node.name, find_rule(node)[0]) for node in graph.nodes)
    light = frozenset(name for name, rule in rules if rule is not None and not rule.heavy)
    return KeptFloat(MappingProxyType(reasons), light, tuple(warnings))


def plan_int8(
    graph: gs.Graph, options: Int8Options, kept_float: KeptFloat | None = None
) -> Int8Plan:
    """Plan the int8 form of a float graph.

    Args:
        graph: Topologically sorted, opset 13 or later, BatchNormalization folded, static shapes
            and element types known, node names unique. It is not changed.
        options: From the build file.
        kept_float: Of `find_kept_float`, where it was asked before rewrites; None asks now.

    Returns:
        The plan; its `observed` tensors are what calibration has to measure.

    Raises:
        ValueError: The opset is older than 13, or two nodes have one name.
    """
    if graph.opset < 13:
        raise ValueError(f"opset {graph.opset}: per-channel weights need opset 13 or later")
    names = [node.name for node in graph.nodes]
    if len(set(names)) < len(names):
        raise ValueError("node names are not unique")
    return _Planner(graph, options, kept_float or find_kept_float(graph, options)).plan()


class _Planner:
    def __init__(self, graph: gs.Graph, options: Int8Options, kept_float: KeptFloat) -> None:
        self.graph = graph
        self.options = options
        self.kept_float = kept_float
        self.outputs = output_ids(graph)
        self.rules: dict[str, OpRule] = {}  # nodes that may run on integers
        self.reasons: dict[str, str] = {}  # of the others
        self.integer: set[str] = set()
        self.fused: dict[str, str] = {}  # node -> the node it is fused into
        self.tails: dict[str, gs.Node] = {}  # integer node -> last node fused into it
        self.biases: dict[str, str] = {}
        self.tensors: dict[str, TensorPlan] = {}
        self.wide: dict[str, WidePlan] = {}

    def plan(self) -> Int8Plan:
        self._find_candidates()
        self._choose_arithmetic()
        self._fuse()
        self._choose_movers()
        self._plan_tensors()
        self._find_joins()
        nodes = tuple(self._decision(node) for node in self.graph.nodes)
        return Int8Plan(
            self.options,
            nodes,
            MappingProxyType(self.tensors),
            MappingProxyType(self.biases),
            self.kept_float.warnings,
            MappingProxyType(self.wide),
        )

    def _find_candidates(self) -> None:
        for node in self.graph.nodes:
            rule, reason = find_rule(node)
            kept = self.kept_float.reason(node)
            if rule is not None and not kept:
                self.rules[node.name] = rule
                continue
            wide_in_vain = kept == _WIDE and rule is None
            self.reasons[node.name] = reason if wide_in_vain else kept or reason
            if rule is not None and kept == _WIDE:
                self.wide[node.name] = self._wide(node, rule)

    def _wide(self, node: gs.Node, rule: OpRule) -> WidePlan:
        read = [tensor for tensor in activations(node, rule) if isinstance(tensor, gs.Variable)]
        tail = node
        following = only_reader(self.graph, node.outputs[0])
        if following is not None and rule.output is ScaleFrom.OWN:
            fused = find_rule(following)[0]
            tail = following if fused is not None and fused.kernel is Kernel.FUSED else node
        made = [tensor for tensor in tail.outputs if tensor.dtype == np.float32]
        return WidePlan(tuple(t.name for t in read), tuple(t.name for t in made))

    def _choose_arithmetic(self) -> None:
        heavy = [n for n in self.graph.nodes if self._is_heavy(n)]
        below = self._reach(heavy, _readers)
        above = self._reach(heavy, self._feeders)
        between = (below & above) | {node.name for node in heavy}
        self.integer = {name for name in between if self.rules[name].kernel in _ON_BYTES}

    def _is_heavy(self, node: gs.Node) -> bool:
        rule = self.rules.get(node.name)
        return rule is not None and rule.heavy and origin_of(node.name) not in self.kept_float.light

    def _choose_movers(self) -> None:
        movers = [
            node
            for node in self.graph.nodes
            if (rule := self.rules.get(node.name)) is not None
            and rule.output in (ScaleFrom.INPUT, ScaleFrom.NONE)
            and rule.kernel in _ON_BYTES
        ]
        for node in movers:
            if self._makes_bytes(node.inputs[0]):
                self._make_integer(node)
        for node in reversed(movers):
            if any(self._reads(reader, node.outputs) for reader in _readers(node)):
                self._make_integer(node)

    def _makes_bytes(self, tensor: gs.Tensor) -> bool:
        """Whether an integer node hands the tensor on as uint8, whoever reads it."""
        node = producer(tensor)
        if node is None:
            return False
        maker = self.fused.get(node.name, node.name)
        return maker in self.integer and not self.rules[maker].float_output

    def _make_integer(self, node: gs.Node) -> None:
        self.integer.add(node.name)
        self.tails[node.name] = node

    def _reach(
        self, start: Iterable[gs.Node], neighbours: Callable[[gs.Node], list[gs.Node]]
    ) -> set[str]:
        """Candidates reachable from `start` over candidates only."""
        reached: set[str] = set()
        waiting = list(start)
        while waiting:
            for node in neighbours(waiting.pop()):
                if node.name in self.rules and node.name not in reached:
                    reached.add(node.name)
                    waiting.append(node)
        return reached

    def _feeders(self, node: gs.Node) -> list[gs.Node]:
        tensors = activations(node, self.rules[node.name])
        return [producer for tensor in tensors for producer in tensor.inputs]

    def _reads(self, reader: gs.Node, tensors: Iterable[gs.Tensor]) -> bool:
        """Whether `reader` runs on integers and takes one of `tensors` as an activation."""
        if reader.name not in self.integer:
            return False
        read = {id(tensor) for tensor in activations(reader, self.rules[reader.name])}
        return any(id(tensor) in read for tensor in tensors)

    def _fuse(self) -> None:
        """Attach to each integer node what its QuantizeLinear, or its kernel, does along."""
        for node in self.graph.nodes:
            if node.name not in self.integer:
                continue
            self._make_integer(node)
            rule = self.rules[node.name]
            if node.op == "MatMul" and rule.weight is not None:
                self._fuse_next(node, self._is_bias)
            if rule.output is ScaleFrom.OWN:
                self._fuse_next(node, self._is_activation)

    def _fuse_next(self, head: gs.Node, fits: Callable[[gs.Node, gs.Node], bool]) -> None:
        tail = self.tails[head.name]
        following = only_reader(self.graph, tail.outputs[0])
        if following is None or not fits(head, following):
            return
        self.fused[following.name] = head.name
        self.tails[head.name] = following
        self.integer.discard(following.name)

    def _is_activation(self, head: gs.Node, node: gs.Node) -> bool:
        rule = self.rules.get(node.name)
        if rule is None or rule.kernel is not Kernel.FUSED:
            return False
        returns_floats = self.rules[head.name].float_output and not self._is_gemm(head)
        return (
            not returns_floats
            or self._has_integer_reader(node.outputs[0])
            or self._hides_reader(node)
        )

    def _is_bias(self, head: gs.Node, node: gs.Node) -> bool:
        if node.op != "Add" or node.name not in self.rules:
            return False
        constants = [tensor for tensor in node.inputs if isinstance(tensor, gs.Constant)]
        channels = head.inputs[1].values.shape[1]
        if len(constants) != 1 or constants[0].values.shape != (channels,):
            return False
        self.biases[head.name] = node.name
        return True

    def _plan_tensors(self) -> None:
        for tensor in self.graph.inputs:
            self._plan_read(tensor)
        for node in self.graph.nodes:
            if node.name in self.integer:
                self._plan_constants(node)
                self._plan_written(node)
            elif node.name not in self.fused:
                for tensor in node.outputs:
                    self._plan_read(tensor)

    def _plan_read(self, tensor: gs.Tensor) -> None:
        """A tensor that float code makes becomes uint8 if an integer node reads it."""
        if not self._has_integer_reader(tensor):
            return
        maker = producer(tensor)
        rule = self.rules.get(maker.name) if maker is not None else None
        if rule is not None and rule.output is ScaleFrom.UNIT:
            self.tensors[tensor.name] = TensorPlan(ScaleFrom.UNIT)
        elif maker is not None and maker.op == "Cast" and maker.inputs[0].dtype == np.uint8:
            self.tensors[tensor.name] = TensorPlan(ScaleFrom.BYTES)
        elif (
            maker is not None
            and rule is not None
            and rule.output is ScaleFrom.INPUT
            and maker.inputs[0].name in self.tensors
        ):
            self.tensors[tensor.name] = TensorPlan(ScaleFrom.INPUT, (maker.inputs[0].name,))
        else:
            self.tensors[tensor.name] = TensorPlan(ScaleFrom.OWN)

    def _plan_constants(self, node: gs.Node) -> None:
        for tensor in activations(node, self.rules[node.name]):
            if isinstance(tensor, gs.Constant):
                self.tensors[tensor.name] = TensorPlan(ScaleFrom.VALUES)

    def _plan_written(self, node: gs.Node) -> None:
        rule, tail = self.rules[node.name], self.tails[node.name]
        if rule.output is ScaleFrom.NONE:
            return
        if rule.float_output and not self._needs_scale(node, tail):
            return
        of: tuple[str, ...] = ()
        if rule.output is ScaleFrom.INPUT:
            of = (node.inputs[0].name,)
        elif rule.output is ScaleFrom.UNION:
            of = tuple(tensor.name for tensor in node.inputs)
        activation = tail is not node and tail.op != "Add"
        bounds = clip_bounds(tail) if tail.op == "Clip" else None
        upper = float("inf") if bounds is None else bounds[1]
        for tensor in tail.outputs:
            self.tensors[tensor.name] = TensorPlan(
                rule.output, of, upper=upper, zero_based=activation
            )

    def _needs_scale(self, head: gs.Node, tail: gs.Node) -> bool:
        """Whether a node that could return floats must not."""
        if self._has_integer_reader(tail.outputs[0]) or self._is_activation(head, tail):
            return True
        readers = tail.outputs[0].outputs
        if len(readers) == 1 and self._hides_reader(readers[0]):
            return True
        following = only_reader(self.graph, tail.outputs[0])
        return self._is_gemm(head) and following is not None and following.op in _FUSED_INTO_GEMM

    def _hides_reader(self, node: gs.Node) -> bool:
        """Whether ONNX Runtime looks past a node for what quantizes the MatMul or Gemm before it.

        It then takes that for a float layer where a float node reads the result.
        """
        return node.op in ("Relu", "Clip") and only_reader(self.graph, node.outputs[0]) is not None

    def _is_gemm(self, node: gs.Node) -> bool:
        return node.op == "Gemm" or node.name in self.biases

    def _has_integer_reader(self, tensor: gs.Tensor) -> bool:
        """Whether an integer node takes the tensor as an activation."""
        return any(self._reads(reader, [tensor]) for reader in tensor.outputs)

    def _find_joins(self) -> None:
        """Mark Concat inputs that nobody else reads."""
        family = {name: name for name in self.tensors}
        for name, plan in self.tensors.items():
            if plan.source is ScaleFrom.INPUT:
                family[name] = family[plan.of[0]]
        members: dict[str, list[str]] = {}
        for name, root in family.items():
            members.setdefault(root, []).append(name)
        tensors = self.graph.tensors()
        for node in self.graph.nodes:
            if node.name not in self.integer or self.rules[node.name].output is not ScaleFrom.UNION:
                continue
            output = node.outputs[0].name
            roots = dict.fromkeys(family[tensor.name] for tensor in node.inputs)
            joins = tuple(
                root
                for root in roots
                if all(self._only_for(tensors[name], node, root, family) for name in members[root])
            )
            plan = self.tensors[output]
            self.tensors[output] = TensorPlan(plan.source, plan.of, joins)

    def _only_for(
        self, tensor: gs.Tensor, concat: gs.Node, root: str, family: Mapping[str, str]
    ) -> bool:
        if id(tensor) in self.outputs:
            return False
        return all(
            reader is concat or all(family.get(output.name) == root for output in reader.outputs)
            for reader in tensor.outputs
        )

    def _decision(self, node: gs.Node) -> NodePlan:
        output = node.outputs[0].name if node.outputs else ""
        if node.name in self.integer:
            tail = self.tails[node.name].outputs[0].name
            return NodePlan(node.name, node.op, Form.INTEGER, "", tail)
        if node.name in self.fused:
            reason = f"part of '{self.fused[node.name]}'"
            return NodePlan(node.name, node.op, Form.FUSED, reason, output)
        return NodePlan(node.name, node.op, Form.FLOAT, self._why_float(node), output)

    def _why_float(self, node: gs.Node) -> str:
        if node.name in self.reasons:
            return self.reasons[node.name]
        if self.rules[node.name].kernel is Kernel.FLOAT:
            return f"linear {node.op} has no integer kernel"
        if self.rules[node.name].kernel is Kernel.FUSED:
            return "does not follow an integer node alone"
        return "no integer arithmetic on both sides of it"


def _readers(node: gs.Node) -> list[gs.Node]:
    return [reader for tensor in node.outputs for reader in tensor.outputs]


def _excluded(graph: gs.Graph, options: Int8Options) -> tuple[dict[str, str], list[str]]:
    """Node name -> reason, for all that the options keep float; and warnings."""
    layers = list_layers(graph)
    reasons, warnings = _excluded_types(graph, options)
    keys: tuple[tuple[str, Kind | None, tuple[int | str, ...]], ...] = (
        ("skip_conv_layers", "conv", options.skip_conv_layers),
        ("skip_matmul_layers", "matmul", options.skip_matmul_layers),
        ("exclude_layers", None, options.exclude_layers),
    )
    for key, kind, entries in keys:
        picked, unknown = pick_layers(layers, kind, entries, key)
        reasons |= picked
        warnings += unknown
    picked, unknown = pick_layers(layers, None, options.uint16_layers, "uint16_layers")
    reasons = {**dict.fromkeys(picked, _WIDE), **reasons}
    warnings += unknown
    return reasons, warnings


def _excluded_types(graph: gs.Graph, options: Int8Options) -> tuple[dict[str, str], list[str]]:
    entries = options.quantize_operators
    refused = [(f"quantize_operators: {e}", e[1:]) for e in entries if e.startswith("!")]
    refused += [(f"ops_usingfp: {entry}", entry) for entry in options.ops_usingfp]
    wanted = [entry for entry in entries if not entry.startswith("!")]
    warnings = [
        warning
        for key, name in [*refused, *((f"quantize_operators: {name}", name) for name in wanted)]
        if (warning := _unknown_type(key, name)) is not None
    ]
    allowed = {op for name in wanted for op in _onnx_types(name)}
    reasons: dict[str, str] = {}
    for node in graph.nodes:
        for key, name in refused:
            if _is_of_type(node, _onnx_types(name)):
                reasons[node.name] = f"named by {key}"
        if wanted and not _is_of_type(node, allowed) and not _only_moves(node):
            reasons.setdefault(node.name, f"{node.op} is not among quantize_operators")
    return reasons, warnings


def _onnx_types(name: str) -> tuple[str, ...]:
    """ONNX operators behind a name in either vocabulary; TVM names may start with "_"."""
    bare = name.removeprefix("_")
    return _FOREIGN_NAMES.get(bare) or tuple(op for op in OP_RULES if op.lower() == bare.lower())


def _unknown_type(key: str, name: str) -> str | None:
    if _onnx_types(name) or name.removeprefix("_") in _FOREIGN_NAMES:
        return None
    known = [*OP_RULES, *_FOREIGN_NAMES]
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"; closest: {', '.join(close)}" if close else ""
    return f"{key}: no such operator type{hint}"


def _is_of_type(node: gs.Node, types: Iterable[str]) -> bool:
    names = {node.op}
    if node.op == "MatMul":
        weighted = any(isinstance(tensor, gs.Constant) for tensor in node.inputs)
        names.add(_DENSE if weighted else _BATCH_MATMUL)
    return not names.isdisjoint(types)


def _only_moves(node: gs.Node) -> bool:
    rule, _ = find_rule(node)
    return rule is not None and (
        rule.output in (ScaleFrom.INPUT, ScaleFrom.NONE) or rule.kernel is Kernel.FUSED
    )
