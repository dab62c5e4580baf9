"""`attend(q, k, v) { ... }`: scores, the block's statements, then softmax and values."""

from __future__ import annotations

from collections.abc import Callable

from gabc.codegen.body import Body
from gabc.dims import Dim
from gabc.graph.nodes import Argument, Node, Region, Value
from gabc.graph.pycode import Code, Precedence
from gabc.graph.scores import Addend, addends, edits
from gabc.graph.static import Literal, Static, render

Write = Callable[[Body, tuple[Node, ...]], None]


def write_attention(body: Body, node: Node, region: Region, write: Write) -> None:
    """A block that adds to the scores and masks them is fused; any other works on the scores."""
    added = addends(region)
    if added is None or any(node.args.get(name) is not None for name in ("softcap", "sinks")):
        _write_explicit(body, node, region, write)
    else:
        _write_fused(body, node, region, added, write)


def _write_fused(
    body: Body, node: Node, region: Region, added: tuple[Addend, ...], write: Write
) -> None:
    """What the block adds becomes the bias of `attend`, its mask `keep`."""
    operands = [_value(node, name) for name in ("q", "k", "v")]
    for name, operand in zip("qkv", operands, strict=True):
        if operand in body.pending:
            body.settle(operand, name)
    _write_indices(body, node, region, "attend_grid", body.names[operands[0]].text)
    skipped = edits(region)
    write(body, tuple(inner for inner in region.nodes if inner not in skipped))
    options = [
        f"{name}={_argument(body, node.args[name])}"
        for name in ("scale", "window", "segments")
        if node.args.get(name) is not None
    ]
    bias = _bias(body, node, added)
    keep = [body.use(value).text for value in region.results[1:]]
    options += [f"bias={bias}"] if bias else []
    options += [f"keep={text}" for text in keep]
    arguments = [body.atom(operand) for operand in operands] + options
    body.define(node, Code(f"{body.require('attend')}({', '.join(arguments)})"))


def _bias(body: Body, node: Node, added: tuple[Addend, ...]) -> str:
    """Everything that is added to the scores; empty if nothing is."""
    text = "" if node.args.get("bias") is None else _argument(body, node.args["bias"])
    for addend in added:
        code = body.use(addend.value)
        if addend.is_subtracted:
            text = f"{text} - " if text else "-"
            text += code.within(Precedence.MULTIPLY if len(text) > 1 else Precedence.UNARY)
        else:
            text = (
                f"{text} + {code.within(Precedence.ADD)}" if text else code.within(Precedence.ADD)
            )
    return text


def _write_indices(body: Body, node: Node, region: Region, helper: str, of: str) -> None:
    """`b, h, i, j = ...`, with `_` for those that the block does not mention."""
    indices = region.inputs[1:]
    if not any(body.uses.count[index] for index in indices):
        return
    names = [body.take(index, index.name) if body.uses.count[index] else "_" for index in indices]
    body.emit(f"{', '.join(names)} = {body.require(helper)}({of})", node.span)


def _write_explicit(body: Body, node: Node, region: Region, write: Write) -> None:
    """The result is that of `attend_scores`, a helper that adds causality to the block's mask."""
    q, k = (_argument(body, node.args[name]) for name in ("q", "k"))
    scale = node.args.get("scale")
    arguments = [q, k, *([] if scale is None else [_argument(body, scale)])]
    score = region.inputs[0]
    code = Code(f"{body.require('attend_logits')}({', '.join(arguments)})")
    body.assign(score, _edited(body, node, code), node.span, "score")
    _write_indices(body, node, region, "attend_indices", body.names[score].text)
    outer = body.keep
    # The masks below are written after the block, whose locals must not hide what they read.
    body.keep = outer | {
        name for name, value in body.holders.items() if body.remaining[value] > 0 and value != score
    }
    write(body, region.nodes)
    result = body.use(region.results[0])
    keeps = [body.use(value) for value in region.results[1:]]
    body.keep = outer
    keep = _joined([*keeps, *_masks(body, node)])
    arguments = [result.text, keep, _argument(body, node.args["v"])]
    if node.args.get("sinks") is not None:
        arguments.append(_argument(body, node.args["sinks"]))
    body.define(node, Code(f"{body.require('attend_scores')}({', '.join(arguments)})"))


def _edited(body: Body, node: Node, score: Code) -> Code:
    """The scores after `softcap` and `bias`, which come before the block."""
    softcap, bias = node.args.get("softcap"), node.args.get("bias")
    if softcap is not None:
        cap = _argument(body, softcap)
        score = Code(f"{cap} * torch.tanh({score.text} / {cap})", Precedence.MULTIPLY)
    if bias is not None:
        score = Code(f"{score.text} + {_argument(body, bias)}", Precedence.ADD)
    return score


def _masks(body: Body, node: Node) -> list[Code]:
    masks = []
    window, segments = node.args.get("window"), node.args.get("segments")
    if window is not None:
        like = body.like()
        assert like is not None
        length = body.dim(_value(node, "q").type.dims[1]).text
        call = f"{length}, {_argument(body, window)}, {like.text}.device"
        masks.append(Code(f"{body.require('window_mask')}({call})"))
    if segments is not None:
        name = _argument(body, segments)
        same = f"{name}[:, None, :, None] == {name}[:, None, None, :]"
        masks.append(Code(same, Precedence.COMPARE))
    return masks


def _joined(masks: list[Code]) -> str:
    if len(masks) < 2:
        return masks[0].text if masks else "None"
    return " & ".join(mask.within(Precedence.ADD) for mask in masks)


def _value(node: Node, name: str) -> Value:
    value = node.args[name]
    assert isinstance(value, Value)
    return value


def _argument(body: Body, argument: Argument) -> str:
    """An argument as an atom."""
    if isinstance(argument, Value):
        return body.atom(argument)
    if isinstance(argument, Dim):
        return body.dim(argument).within(Precedence.ATOM)
    if isinstance(argument, Static):
        return body.static(argument).within(Precedence.ATOM)
    assert isinstance(argument, (int, str))
    return render(Literal(argument)).text
