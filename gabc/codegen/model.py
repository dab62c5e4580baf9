"""The model class: embedding, blocks with Z passed along, norm and head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from gabc.codegen.construct import Constructor, construct
from gabc.codegen.context import ClassContext, SharedModule, UnitClass
from gabc.codegen.layout import Line, fits
from gabc.codegen.methods import constructed, initial_value
from gabc.codegen.names import local_name
from gabc.graph.instance import Instance, Stack
from gabc.graph.names import shared_keys, unused

MODEL_NAMES = frozenset({"D", "_", "layer", "n_layers", "seed", "vocab_size", "weight"})
"""Variables of the model's constructor: no class may be called like one."""

_FORWARD_NAMES = frozenset({"X", "_", "block", "logits", "return_losses", "tokens"})


@dataclass(frozen=True, slots=True)
class _Signature:
    """What the loop over blocks must know: Z entries in and out, shared modules, losses."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    shared: tuple[str, ...]
    losses: tuple[str, ...]


@dataclass
class ModelClass:
    """The class of a whole design; `classes` holds those of its blocks."""

    stack: Stack
    name: str
    vocab_size: int
    classes: Mapping[Instance, UnitClass]
    require: Callable[[str], str]

    def lines(self) -> list[Line]:
        """The class, from `class GPT2(nn.Module):` on."""
        scale = self.stack.scale
        doc = f"{self.stack.name}: tokens [B, L] -> logits [B, L, vocab_size]."
        head = [
            Line(f"class {self.name}(nn.Module):", 0, self.stack.span),
            Line(f'"""{doc}"""', 1),
            Line(""),
        ]
        depth = f", n_layers: int = {scale.n_layers}" if self.any_depth else ""
        arguments = f"vocab_size: int = {self.vocab_size}, D: int = {scale.D}{depth}"
        signature = f"def __init__(self, {arguments}, seed: int | None = 0) -> None:"
        return [
            *head,
            Line(signature, 1),
            *self._constructor(),
            Line(""),
            *self._initialiser(),
            Line(""),
            *self._forward(),
        ]

    # ---------------------------------------------------------------- construction

    @property
    def any_depth(self) -> bool:
        """Whether all blocks are constructed alike, so that there may be more or fewer of them."""
        return len(set(self._blocks())) == 1 and len(set(self._signatures())) == 1

    def _constructor(self) -> list[Line]:
        doc = "With `seed=None` the parameters are left uninitialised."
        rows = [
            f'"""{doc}"""',
            "super().__init__()",
            "self.embedding = nn.Embedding(vocab_size, D)",
        ]
        if self._shared():
            rows += _shared_rows(self._shared_codes())
        blocks = self._blocks()
        if self.any_depth:
            layers = "layer" if self._needs_layer() else "_"
            row = f"nn.ModuleList([{blocks[0]} for {layers} in range(n_layers)])"
        else:
            row = f"nn.ModuleList([{', '.join(blocks)}])"
        rows += [f"self.blocks = {row}", "self.norm = nn.LayerNorm(D, bias=False)"]
        if not self.stack.head.tie:
            rows.append("self.head = nn.Linear(D, vocab_size, bias=False)")
        lines = [Line(row, 2) for row in rows]
        return [*lines, Line("if seed is not None:", 2), Line("self.init_parameters(seed)", 3)]

    def _blocks(self) -> list[str]:
        """The expression that constructs each block."""
        blocks = self.stack.blocks
        codes = {
            block: construct(self._site(block, with_layer=True), block)
            for block in dict.fromkeys(blocks)
        }
        if len(set(codes.values())) == 1:
            return [codes[block] for block in blocks]
        numbers = {"n_layers": self.stack.scale.n_layers}
        return [
            construct(self._site(block, True, {**numbers, "layer": layer}), block)
            for layer, block in enumerate(blocks)
        ]

    def _needs_layer(self) -> bool:
        site = self._site(self.stack.blocks[0], with_layer=True)
        construct(site, self.stack.blocks[0])
        return "layer" in site.needed

    def _site(
        self, block: Instance, with_layer: bool, numbers: Mapping[str, int] | None = None
    ) -> Constructor:
        """The model as the place where modules are constructed: it knows `D` and `n_layers`."""
        env = {name: block.env[name] for name in ("D", "n_layers") if name in block.env}
        if with_layer and "layer" in block.env:
            env["layer"] = block.env["layer"]
        instance = Instance(self.stack.name, None, {}, {}, env, (), {}, None, self.stack.span)
        context = ClassContext(instance, self.require, self.classes, frozenset())
        return Constructor(context, {}, numbers or {})

    # ---------------------------------------------------------------- shared modules

    def _shared(self) -> dict[str, SharedModule]:
        """The modules that all blocks share, by their names in `self.shared`."""
        found: dict[str, SharedModule] = {}
        for block in dict.fromkeys(self.stack.blocks):
            for module in self.classes[block].shared:
                found.setdefault(self._keys[module.path], module)
        return found

    @cached_property
    def _keys(self) -> dict[str, str]:
        return shared_keys(self.stack)

    def _shared_codes(self) -> dict[str, str]:
        numbers = {} if self.any_depth else {"n_layers": self.stack.scale.n_layers}
        site = self._site(self.stack.blocks[0], False, numbers)
        return {key: construct(site, module.instance) for key, module in self._shared().items()}

    # ---------------------------------------------------------------- initial values

    def _initialiser(self) -> list[Line]:
        init = self.require("Init")
        rows = [
            (1, "@torch.no_grad()"),
            (1, "def init_parameters(self, seed: int) -> None:"),
            (2, '"""Draw every parameter anew; each depends on the seed and its name only."""'),
            (2, f"init = {init}(seed)"),
            (2, "weight = self.embedding.weight"),
            (2, 'weight.copy_(init.normal("embedding.weight", weight.shape, std=0.02))'),
            (2, "self.norm.weight.fill_(1.0)"),
        ]
        if not self.stack.head.tie:
            rows.append((2, "weight = self.head.weight"))
            rows.append((2, 'weight.copy_(init.normal("head.weight", weight.shape, std=0.02))'))
        rows += [
            (2, "for name, module in self.named_modules():"),
            (3, 'if name and hasattr(module, "init_parameters"):'),
            (4, f"module.init_parameters({init}(seed, name))"),
        ]
        lines = [Line(text, level) for level, text in rows]
        for key, module in self._shared().items():
            context = self._site(self.stack.blocks[0], with_layer=False).context
            for entry in constructed(module.instance, f"shared.{key}"):
                lines += initial_value(context, entry)
        return lines

    # ---------------------------------------------------------------- forward

    def _signatures(self) -> list[_Signature]:
        signatures = []
        for block in self.stack.blocks:
            assert block.graph is not None
            cls = self.classes[block]
            reads = tuple(read.key for read in block.graph.z_reads)
            writes = tuple(write.key for write in block.graph.z_writes)
            shared = tuple(self._keys[module.path] for module in cls.shared)
            signatures.append(_Signature(reads, writes, shared, cls.losses))
        return signatures

    def _forward(self) -> list[Line]:
        head = self.stack.head
        signatures = self._signatures()
        losses = list(dict.fromkeys(name for s in signatures for name in s.losses))
        rows = [(1, "def forward(self, tokens: Tensor) -> Tensor:")]
        if losses:
            returns = "Tensor | tuple[Tensor, dict[str, Tensor]]"
            arguments = "self, tokens: Tensor, return_losses: bool = False"
            rows = [(1, f"def forward({arguments}) -> {returns}:")]
        rows.append((2, "X = self.embedding(tokens)"))
        if head.embed_scale is not None:
            rows.append((2, f"X = X * {head.embed_scale!r}"))
        names = self._names(signatures)
        rows += [(2, f"{names['loss ' + name]} = X.new_zeros(())") for name in losses]
        rows += self._loop(signatures, names)
        weight = "embedding" if head.tie else "head"
        rows += [(2, "X = self.norm(X)"), (2, f"logits = F.linear(X, self.{weight}.weight)")]
        if head.logit_cap is not None:
            cap = repr(head.logit_cap)
            rows.append((2, f"logits = {cap} * torch.tanh(logits / {cap})"))
        if losses:
            items = ", ".join(f'"{name}": {names["loss " + name]}' for name in losses)
            rows += [(2, "if return_losses:"), (3, f"return logits, {{{items}}}")]
            rows.append((2, "return logits"))
        else:
            level, last = rows[-1]
            rows[-1] = (level, last.replace("logits =", "return", 1))
        return [Line(text, level) for level, text in rows]

    def _names(self, signatures: list[_Signature]) -> dict[str, str]:
        """Local variables for Z entries, for losses, and for what one block adds to a loss."""
        names: dict[str, str] = {}
        for signature in signatures:
            wanted = {key: key for key in (*signature.reads, *signature.writes)}
            for name in signature.losses:
                wanted |= {f"loss {name}": name, f"{name} here": f"{name}_here"}
            for key, name in wanted.items():
                if key not in names:
                    names[key] = unused(local_name(name), {*_FORWARD_NAMES, *names.values()})
        return names

    def _loop(self, signatures: list[_Signature], names: dict[str, str]) -> list[tuple[int, str]]:
        """One loop over blocks of the same signature after another."""
        rows: list[tuple[int, str]] = []
        read_later = {key for signature in signatures for key in signature.reads}
        written: set[str] = set()
        layer = 0
        for signature, group in groupby(signatures):
            count = len(list(group))
            for key in signature.reads:
                if key not in written:
                    rows.append((2, f"{names[key]} = None"))
                    written.add(key)
            written.update(signature.writes)
            if count == 1 and len(signatures) > 1:
                rows += self._call(f"self.blocks[{layer}]", signature, names, read_later, 2)
            else:
                whole = count == len(signatures)
                span = "" if whole else f"[{layer}:{layer + count}]"
                rows.append((2, f"for block in self.blocks{span}:"))
                rows += self._call("block", signature, names, read_later, 3)
            layer += count
        return rows

    def _call(
        self, block: str, signature: _Signature, names: dict[str, str], read: set[str], level: int
    ) -> list[tuple[int, str]]:
        shared = [f'self.shared["{key}"]' for key in signature.shared]
        arguments = ["X", *(names[key] for key in signature.reads), *shared]
        targets = ["X", *(names[key] if key in read else "_" for key in signature.writes)]
        losses = [names[f"{name} here"] for name in signature.losses]
        rows = [(level, f"{', '.join(targets + losses)} = {block}({', '.join(arguments)})")]
        for name, here in zip(signature.losses, losses, strict=True):
            total = names["loss " + name]
            rows.append((level, f"{total} = {total} + {here}"))
        return rows


def _shared_rows(codes: Mapping[str, str]) -> list[str]:
    """The statements that make `self.shared`: one if it fits on a line."""
    entries = ", ".join(f'"{key}": {code}' for key, code in codes.items())
    row = f"self.shared = nn.ModuleDict({{{entries}}})"
    if fits(row, 2):
        return [row]
    return [
        "self.shared = nn.ModuleDict()",
        *(f'self.shared["{key}"] = {code}' for key, code in codes.items()),
    ]
