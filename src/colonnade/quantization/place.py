"""place(): which nodes run on 8 bits, and which values get a QuantizeLinear.

A value is quantized because somebody wants integers: a product, or a sum or move whose own result
is wanted as integers. So a chain of layers stays in 8 bits, and no value is rounded for nobody's
gain: what the rest of the model reads stays float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from colonnade.ir import DType, Graph, Node
from colonnade.quantization.policy import Rule, Weights, biased, find_rule, passes_range


@dataclass(frozen=True)
class Placement:
    """Where 8 bits are. Nodes are named by their first output, which is unique."""

    products: Mapping[str, Weights]
    readers: frozenset[str]
    """Nodes that read dequantized integers: products, sums and moves."""
    values: tuple[str, ...]
    """Values that are quantized, in order."""
    group: Mapping[str, str]
    """For each value, the one that stands for all that share its scale."""
    refused: Mapping[str, str]
    """Layers that stay float32, with the reason."""


def place(graph: Graph, is_excluded: Callable[[Node], str]) -> Placement:
    """`is_excluded` gives a reason for which the user wants a node in float32, or ""."""
    products, refused = _find_products(graph, is_excluded)
    wanted = _Wanted(graph, products, is_excluded)
    wanted.settle()
    for node in graph.nodes:
        reason = wanted.reason_against(node)
        if reason:
            refused[node.outputs[0]] = reason
    values = tuple(value for value in _in_order(graph) if value in wanted.values)
    group = _share_scales(graph, wanted.readers, values)
    return Placement(products, frozenset(wanted.readers), values, group, refused)


def _find_products(
    graph: Graph, is_excluded: Callable[[Node], str]
) -> tuple[dict[str, Weights], dict[str, str]]:
    products, refused = {}, {}
    for node in graph.nodes:
        rule = find_rule(node)
        if rule is None or rule.kind not in ("product", "float32"):
            continue
        found: Weights | str = is_excluded(node) or rule.why
        if not found and rule.find_weights is not None:
            found = rule.find_weights(graph, node)
        if isinstance(found, Weights):
            products[node.outputs[0]] = found
        else:
            refused[node.outputs[0]] = found
    return products, refused


class _Wanted:
    """The values that are wanted as integers; it grows until nothing changes."""

    def __init__(
        self, graph: Graph, products: Mapping[str, Weights], is_excluded: Callable[[Node], str]
    ) -> None:
        self._graph = graph
        self._excluded = {n.outputs[0]: why for n in graph.nodes if (why := is_excluded(n))}
        self._comes: dict[str, bool] = {}
        self._products = products
        self.readers: set[str] = set(products)
        self.values: set[str] = {
            node.inputs[0] for node in graph.nodes if node.outputs[0] in products
        }

    def settle(self) -> None:
        """Add readers until there are no more."""
        size = -1
        while size != len(self.readers):
            size = len(self.readers)
            self._comes.clear()
            for node in reversed(self._graph.nodes):
                rule = find_rule(node)
                if rule is not None and node.outputs[0] not in self.readers:
                    self._try_add(node, rule)

    def _try_add(self, node: Node, rule: Rule) -> None:
        if self._why_not(node, rule):
            return
        if not self._makes_integers(node):
            return  # a move of float32 values: what it leads to quantizes them behind it
        self.readers.add(node.outputs[0])
        self.values.update(data_inputs(node, rule))
        if rule.kind == "shared":
            self.values.update(out for out in node.outputs if out)

    def _why_not(self, node: Node, rule: Rule) -> str:
        """Why a sum or move is not to be on integers; "" when it may."""
        outputs = node.outputs if rule.kind == "shared" else (self.result(node),)
        wanted = any(out in self.values for out in outputs if out)
        return self._cannot(node, rule) or ("" if wanted else "no 8-bit layer reads its result")

    def _cannot(self, node: Node, rule: Rule) -> str:
        if rule.kind not in ("sum", "shared"):
            return "neither a sum nor a move"
        if node.outputs[0] in self._excluded:
            return self._excluded[node.outputs[0]]
        inputs = data_inputs(node, rule)
        if any(value in self._graph.constants for value in inputs):
            return "one operand is constant"
        if any(self._graph.dtype(value) is not DType.FLOAT32 for value in inputs):
            return "its type is not float32"
        return rule.check(self._graph, node) if rule.check is not None else ""

    def result(self, node: Node) -> str:
        """The value behind a sum and the activations that only follow it."""
        value = node.outputs[0]
        while (reader := self._graph.sole_consumer(value)) and passes_range(self._graph, reader):
            value = reader.outputs[0]
        return value

    def _comes_as_integers(self, value: str) -> bool:
        """True for what is quantized anyway, and for what 8-bit layers could make."""
        if value in self.values:
            return True
        if value not in self._comes:
            node = self._graph.producer.get(value)
            self._comes[value] = node is not None and self._makes_integers(node)
        return self._comes[value]

    def _makes_integers(self, node: Node) -> bool:
        if node.outputs[0] in self.readers:
            return True
        if passes_range(self._graph, node):
            return self._comes_as_integers(node.inputs[0])
        if (added := biased(self._graph, node)) is not None:
            return self._comes_as_integers(added)
        rule = find_rule(node)
        if rule is None or self._cannot(node, rule):
            return False
        come = [self._comes_as_integers(operand) for operand in data_inputs(node, rule)]
        return all(come) if rule.kind == "sum" else any(come)

    def reason_against(self, node: Node) -> str:
        """Why a sum stays float32; "" for one in 8 bits, and for what is no layer."""
        rule = find_rule(node)
        if rule is None or rule.kind != "sum" or node.outputs[0] in self.readers:
            return ""
        if self._graph.dtype(node.outputs[0]) is not DType.FLOAT32:
            return ""
        if any(value in self._graph.constants for value in node.inputs):
            return ""
        return self._why_not(node, rule) or "an operand is not made by an 8-bit layer"


def data_inputs(node: Node, rule: Rule) -> tuple[str, ...]:
    """The inputs that may be integers."""
    if rule.kind == "sum" or rule.all_inputs:
        return node.inputs
    return node.inputs[:1]


def _in_order(graph: Graph) -> Iterable[str]:
    yield from graph.inputs
    for node in graph.nodes:
        yield from (out for out in node.outputs if out)


def _share_scales(graph: Graph, readers: set[str], values: Iterable[str]) -> dict[str, str]:
    """Union of the values on both sides of every shared operator."""
    group = {value: value for value in values}

    def root(value: str) -> str:
        while group[value] != value:
            value = group[value]
        return value

    for node in graph.nodes:
        rule = find_rule(node)
        if rule is None or rule.kind != "shared" or node.outputs[0] not in readers:
            continue
        first, *others = (*data_inputs(node, rule), *filter(None, node.outputs))
        for other in others:
            group[root(other)] = root(first)
    return {value: root(value) for value in group}
