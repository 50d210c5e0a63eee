"""`Graph`: an image operator, if any, and a model."""

from collections.abc import Sequence

from compiler.compat.vaststreamx.enums import GraphOutputType
from compiler.compat.vaststreamx.model import Model
from compiler.compat.vaststreamx.operators import BuildInOperator, ModelOperator, Operator
from compiler.compat.vaststreamx.refusal import refusal


class Graph:
    """Operators in the order in which a sample passes them.

    Args:
        output_type: Where and how a device leaves its outputs; or a bool, whether it copies them:
            scripts give either by position. Only 884 matters on a CPU.
        output_places: The same per output.
        do_copy: As the bool.
    """

    def __init__(
        self,
        output_type: GraphOutputType | bool = True,
        output_places: Sequence[int] = (),
        *,
        do_copy: bool = True,
    ) -> None:
        del output_places, do_copy
        if not isinstance(output_type, GraphOutputType | bool):
            raise refusal(
                "Graph", f"{output_type!r} given", "give a GraphOutputType, or a bool (do_copy)"
            )
        self.flattens = output_type is GraphOutputType.GRAPH_OUTPUT_TYPE_884_DEVICE
        self._operators: list[Operator | ModelOperator] = []

    def add_operators(self, *operators: Operator | ModelOperator) -> None:
        """Append operators.

        Raises:
            BundleError: Anything that is no operator.
        """
        for operator in operators:
            if not isinstance(operator, Operator | ModelOperator):
                raise refusal(
                    "Graph.add_operators",
                    f"{type(operator).__name__} given",
                    "give operators of load_ops_from_json_file, and a ModelOperator",
                )
        self._operators += operators

    def parts(self) -> tuple[BuildInOperator | None, Model]:
        """The image operator, if there is one, and the model.

        Raises:
            BundleError: Not exactly one model, or not at the end; or several image operators.
        """
        images = [op for op in self._operators if isinstance(op, BuildInOperator)]
        models = [op for op in self._operators if isinstance(op, ModelOperator)]
        if len(models) != 1 or self._operators[-1] is not models[0] or len(images) > 1:
            names = ", ".join(op.op_type.name for op in self._operators) or "no operator"
            raise refusal(
                "Graph", f"it holds {names}", "add at most one image operator, then one model"
            )
        return (images[0] if images else None), models[0].model
