"""Reads the text of a compiled program: time of a step by part, and collectives.

A compiler writes the JAX operation that a fusion came from beside the fusion; its name has the path
of the Flax module. The TPU compiler also writes its estimate of the fusion's cycles. The GPU
compiler doesn't, so a kernel's time there is the least that its FLOPs and bytes allow.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

# The first pattern that an operation's name contains decides its part.
PARTS = {
    "joint softmax": r"gmh,gch|gmc,g[cm]h|jvp\(\)/while/body/",
    "random bits": r"random_bits/",
    "stacking of scanned layers": r"_scanned/(while/body/jit\(dynamic_|(un)?stack)",
    "attention": r"attention/(?!query|key|value|output)",
    "layers": r"layer_\d+|_scanned|head\)|video_mlp|video_token",
    "embeddings": r"VLM\.embed|words|positions|segments",
    "unpadding": r"jvp\(\)|searchsorted|cumsum|argsort|take_along_axis|concatenate",
    "optimizer": r"jit\(train_step\)/(add|mul|sub|div|sqrt|pow|reduce_sum|integer_pow|select_n)\b",
}
PRODUCTS, REST = "products of layers", "normalisation, GELU, residuals"  # what "layers" splits into
OTHER = "other"
# Opcodes that are no kernel of a GPU.
FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast"),
    *("call", "while"),
    *("after-all", "copy-done", "partition-id", "replica-id"),
}
# TPU compilers fuse an all-reduce with the choice of a device's own part.
FUSED_SCATTER = "all-reduce-scatter"
COLLECTIVE = rf"{FUSED_SCATTER}|all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "s64": 8, "f64": 8}


class Instruction(NamedTuple):
    """A line of a program.

    Attributes:
      id: its name in the program.
      shape: of its result, as text.
      operands: ids of the instructions whose results it takes.
      name: of the JAX operation that it came from, "" if unknown.
      cycles: the compiler's estimate, 0 if there is none.
      calls: names of the computations that it calls.
    """

    id: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    name: str
    cycles: int
    calls: tuple[str, ...]
    line: str

    @property
    def bytes(self) -> int:
        """Bytes of its result."""
        return _bytes(self.shape)


class Collective(NamedTuple):
    """An exchange between devices.

    Attributes:
      kind: opcode, such as "all-gather".
      name: of the JAX operation that it came from.
      bytes: of its result.
      times: number of times in a step.
      group: number of devices that exchange with each other, 0 for all.
    """

    kind: str
    name: str
    bytes: int
    times: int
    group: int

    def received(self, devices: int) -> float:
        """Bytes that each device receives in a step, around a ring of its group.

        Args:
          devices: number of all devices.
        """
        others = (self.group or devices) - 1
        share = others / (others + 1)
        factor = {
            "all-reduce": 2 * share,
            FUSED_SCATTER: share,
            "all-gather": share,
            "reduce-scatter": others,
            "all-to-all": share,
            "collective-permute": 1,
        }[self.kind]
        return self.times * self.bytes * factor


class Program:
    """A compiled program.

    Attributes:
      computations: instructions of each computation.
      entry: name of the one that runs first.
      instructions: all, by their ids.
    """

    def __init__(self, text: str) -> None:
        self.computations: dict[str, list[Instruction]] = {}
        self.instructions: dict[str, Instruction] = {}
        self.entry = ""
        instructions: list[Instruction] = []
        scatters = False
        for line in text.splitlines():
            header = re.match(r"(ENTRY )?%?([\w.\-]+) .*\{$", line)
            if header:
                instructions = self.computations[header[2]] = []
                scatters = header[2].startswith(FUSED_SCATTER)
                self.entry = header[2] if header[1] else self.entry
            elif instruction := _instruction(line):
                if scatters and instruction.opcode == "all-reduce":
                    instruction = instruction._replace(opcode=FUSED_SCATTER)
                instructions.append(instruction)
                self.instructions[instruction.id] = instruction

    def walk(self) -> Iterator[tuple[Instruction, int]]:
        """Yields each instruction that a step runs, and how many times."""
        return self._walk(self.entry, 1)

    def _walk(self, computation: str, times: int) -> Iterator[tuple[Instruction, int]]:
        for instruction in self.computations.get(computation, ()):
            yield instruction, times
            calls, repeats = instruction.calls, 1
            if instruction.opcode == "while":
                calls, repeats = calls[1:], self.trips(instruction)
            elif instruction.opcode == "conditional":
                raise ValueError(f"{instruction.id}: which branch a step takes is not known")
            elif instruction.cycles or instruction.opcode == "fusion":
                # Its time includes that of what it calls, so only collectives count there.
                inner = (pair for name in calls for pair in self._walk(name, times))
                yield from ((i._replace(cycles=0), n) for i, n in inner if _is_collective(i))
                continue
            for name in calls:
                yield from self._walk(name, times * repeats)

    def trips(self, loop: Instruction) -> int:
        """The trip count of a loop: as its line states it, or the limit of a counter from 0."""
        if known := re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.line):
            return int(known[1])
        numbers = [
            int(number)
            for instruction in self.computations[loop.calls[0]]
            for number in re.findall(r" s32\[\]\S* constant\((\d+)\)", instruction.line)
        ]
        return max(numbers, default=1)

    def cycles(self) -> Counter[tuple[str, str]]:
        """Estimated cycles of a step by part and operation."""
        total: Counter[tuple[str, str]] = Counter()
        for instruction, times in self.walk():
            if instruction.cycles:
                total[self._part(instruction), instruction.name] += instruction.cycles * times
        return total

    def floor(self, flops: float, bandwidth: float) -> Counter[tuple[str, str]]:
        """Nanoseconds that the kernels of a step take at least, by part and operation.

        A kernel reads its operands and writes its result once, or multiplies, whichever takes
        longer. Operands of which a kernel reads a part count in full.

        Args:
          flops: that the device computes in a second.
          bandwidth: bytes that it reads or writes in a second.
        """
        total: Counter[tuple[str, str]] = Counter()
        for instruction, times in self.walk():
            if not (instruction.opcode in FREE or _is_collective(instruction)):
                operands = (self.instructions[name].bytes for name in instruction.operands)
                seconds = max(
                    (instruction.bytes + sum(operands)) / bandwidth,
                    self._flops(instruction) / flops,
                )
                total[self._part(instruction), instruction.name] += round(1e9 * seconds) * times
        return total

    def _flops(self, instruction: Instruction) -> int:
        """FLOPs of a matmul, or of those in what an instruction calls."""
        if instruction.opcode != "dot":
            inner = (i for name in instruction.calls for i in self.computations[name])
            return sum(map(self._flops, inner))
        ((_, product),) = _arrays(instruction.shape)
        ((_, factor),) = _arrays(self.instructions[instruction.operands[0]].shape)
        axes = re.search(r"lhs_contracting_dims=\{([\d,]+)\}", instruction.line)
        summed = math.prod(factor[int(axis)] for axis in axes[1].split(",")) if axes else 1
        return 2 * math.prod(product) * summed

    def _part(self, instruction: Instruction) -> str:
        matches = (part for part, form in PARTS.items() if re.search(form, instruction.name))
        part = next(matches, OTHER)
        if part != "layers":
            return part
        return PRODUCTS if any(map(self._multiplies, instruction.calls)) else REST

    def _multiplies(self, computation: str) -> bool:
        return any(
            i.opcode in ("convolution", "dot") or any(map(self._multiplies, i.calls))
            for i in self.computations.get(computation, ())
        )

    def collectives(self) -> list[Collective]:
        """The exchanges of a step; one that is spread over several fusions counts once."""
        by_channel: dict[tuple[str, int], Collective] = {}
        for instruction, times in self.walk():
            kind = re.match(COLLECTIVE, instruction.opcode)
            if kind and not instruction.opcode.endswith("-done"):
                channel = re.search(r"channel_id=(\d+)", instruction.line)
                size = instruction.bytes // (2 if instruction.opcode.endswith("-start") else 1)
                key = channel[1] if channel else instruction.line, size
                by_channel[key] = Collective(
                    kind[0], instruction.name, size, times, _group(instruction.line)
                )
        return list(by_channel.values())


def _is_collective(instruction: Instruction) -> bool:
    return bool(re.match(COLLECTIVE, instruction.opcode))


def _instruction(line: str) -> Instruction | None:
    match = re.match(r"\s+(?:ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\(([^)]*)\)", line)
    if not match:
        return None
    name = re.search(r'op_name="([^";]*)', line)
    cycles = re.search(r'"estimated_cycles":"(\d+)"', line)
    pair = re.search(r"condition=%([\w.\-]+), body=%([\w.\-]+)", line)
    one = re.search(r"(?:calls|called_computation)=%([\w.\-]+)", line)
    if match[3] == "call":
        one = re.search(r"to_apply=%([\w.\-]+)", line)
    called = pair.groups() if pair else (one[1],) if one else ()
    return Instruction(
        match[1],
        match[2],
        match[3],
        tuple(re.findall(r"%([\w.\-]+)", match[4])),
        name[1] if name else "",
        int(cycles[1]) if cycles else 0,
        called,
        line,
    )


def _group(line: str) -> int:
    """Devices of a group: `replica_groups` is [groups,devices]<=[...] or {{0,1},{2,3}}."""
    if shape := re.search(r"replica_groups=\[\d+,(\d+)\]", line):
        return int(shape[1])
    first = re.search(r"replica_groups=\{\{([\d,]+)\}", line)
    return len(first[1].split(",")) if first else 0


def _bytes(shape: str) -> int:
    """Bytes of an array or a tuple of arrays."""
    return sum(BYTES.get(dtype, 4) * math.prod(sizes) for dtype, sizes in _arrays(shape))


def _arrays(shape: str) -> list[tuple[str, list[int]]]:
    """The dtype and the sizes of the axes of each array of a shape, such as "bf16[8,96]{1,0}"."""
    arrays = re.findall(r"(\w+)\[([\d,]*)\]", re.sub(r"\{[^}]*\}", "", shape))
    return [(dtype, [int(n) for n in sizes.split(",") if n]) for dtype, sizes in arrays]
