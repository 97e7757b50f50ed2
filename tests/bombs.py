"""Checkpoints that are small and ask for much: memory, time or depth. Run as a script, it loads every one."""

from __future__ import annotations

import io
import pickle
import resource
import struct
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import edgeprune.models  # noqa: F401  quiets ultralytics
from edgeprune.core.errors import ModelError
from edgeprune.models.safe_load import load_safely
from hostile_pickles import by_line, encode, framed, in_zip

ROOM = 2 * 2**30
TENSOR = by_line("torch._utils._rebuild_tensor_v2")


def storage(count: int) -> bytes:
    """Push a reference to `count` numbers."""
    number = b"\x8a\x08" + struct.pack("<q", count)
    return (
        b"("
        + encode("storage")
        + by_line("torch.FloatStorage")
        + encode("0")
        + encode("cpu")
        + number
        + b"tQ"
    )


def tensor(count: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """Push a tensor over `count` numbers."""
    whole = b"".join(
        b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", value) for value in values) + b"t"
        for values in (shape, stride)
    )
    return TENSOR + b"(" + storage(count) + encode(0) + whole + b"\x89NtR"


def as_zip(body: bytes, numbers: int = 64) -> bytes:
    """Return an archive with a model and some numbers."""
    return in_zip({"data.pkl": framed(body, 2), "data/0": bytes(numbers)})


def doubled(times: int, opening: bytes, pair: Callable[[bytes], bytes]) -> bytes:
    """Push a value that holds the one before twice, `times` over: small to write, endless to walk."""
    body = opening + b"q\x00"
    for _ in range(times):
        body += b"0" + pair(b"h\x00") + b"q\x00"
    return body


def network(change: Callable[[Any], None]) -> bytes:
    """Return the checkpoint of a changed little network."""
    from ultralytics.nn.tasks import DetectionModel

    model = DetectionModel("yolov8n.yaml", nc=1, verbose=False).half()
    change(model)
    buffer = io.BytesIO()
    torch.save({"model": model}, buffer)
    return buffer.getvalue()


def tower(model: Any) -> None:
    """Enlarge feature maps again and again."""
    model.model[0] = nn.Sequential(model.model[0], *(nn.Upsample(scale_factor=16.0) for _ in range(8)))
    model.model[0].f, model.model[0].i = -1, 0


def doubling(model: Any) -> None:
    """Join a feature map with itself in every layer."""
    from ultralytics.nn.modules import Concat

    for index in range(4, 20):
        model.model[index] = Concat(1)
        model.model[index].f, model.model[index].i = [-1, -1, -1, -1], index


def nested(model: Any) -> None:
    """Nest sequences that each hold the one before twice."""
    inner: nn.Module = nn.Sequential()
    for _ in range(25):
        inner = nn.Sequential(inner, inner)
    model.model[0] = nn.Sequential(model.model[0], inner)
    model.model[0].f, model.model[0].i = -1, 0


def repeated(model: Any) -> None:
    """Pool for ever in one layer."""
    model.model[9].n = 10**9


def padded(model: Any) -> None:
    """Pad a feature map beyond all bounds."""
    model.model[0].conv.padding = (10**6, 10**6)


def a_cycle(model: Any) -> None:
    """Hold itself."""
    model.model[2].m.append(model.model[2])


def directory(count: int) -> bytes:
    """Return an archive that lists one record many times."""
    whole = in_zip({"data.pkl": framed(b"N", 2)})
    at = whole.index(b"PK\x01\x02")
    end = whole.index(b"PK\x05\x06")
    entries = whole[at:end] * count
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(entries), at, 0)
    return whole[:at] + entries + tail


def legacy(body: bytes, after: bytes = pickle.dumps([], protocol=2)) -> bytes:
    """Return a file in torch's old format."""
    head = b"".join(
        pickle.dumps(value, protocol=2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    )
    return head + framed(body, 2) + after


HUGE = 2**40
BOMBS: dict[str, Callable[[], bytes]] = {
    "numbers that are not there": lambda: as_zip(tensor(HUGE, (HUGE,), (1,))),
    "a tensor that repeats its numbers": lambda: as_zip(tensor(16, (HUGE,), (0,))),
    "a tensor of many axes": lambda: as_zip(tensor(16, (2,) * 40, (0,) * 40)),
    "a tensor with a far step": lambda: as_zip(tensor(16, (2,), (2**60,))),
    "a step that overflows": lambda: as_zip(tensor(16, (2**62, 2**62), (2**61, 2**61))),
    "numbers in the old format": lambda: legacy(
        tensor(HUGE, (HUGE,), (1,)), pickle.dumps(["0"], protocol=2) + struct.pack("<q", HUGE)
    ),
    "a compressed archive": lambda: in_zip(
        {"data.pkl": framed(encode("x") * 2, 2) + bytes(2**28)}, zipfile.ZIP_DEFLATED
    ),
    "an archive with many entries": lambda: directory(150_000),
    "a long text": lambda: as_zip(b"\x8d" + struct.pack("<Q", HUGE) + b"x"),
    "long bytes": lambda: as_zip(b"B" + struct.pack("<I", 2**32 - 1) + b"x"),
    "a long byte array": lambda: as_zip(b"\x96" + struct.pack("<Q", HUGE) + b"x"),
    "a long number": lambda: as_zip(b"\x8b" + struct.pack("<i", 2**24) + b"\x7f" * 2**24),
    "a number of many digits": lambda: as_zip(b"L" + b"9" * 2**22 + b"L\n"),
    "a frame of its own size": lambda: as_zip(b"\x95" + struct.pack("<Q", HUGE) + b"N"),
    "a deep tuple": lambda: as_zip(b")" + b"\x85" * 400_000),
    "a deep list as a key": lambda: as_zip(b"}" + b")" + b"\x85" * 300_000 + b"Ns"),
    "deep marks": lambda: as_zip(b"(" * 900_000 + b"N"),
    "many steps": lambda: as_zip(b"](" + b"}" * 6_000_000 + b"e"),
    "many sets": lambda: as_zip(b"](" + b"\x8f" * 900_000 + b"e"),
    "a doubled tuple as a key": lambda: as_zip(
        b"}" + doubled(60, b")", lambda one: one + one + b"\x86") + b"Ns"
    ),
    "doubled lists told as names": lambda: as_zip(
        by_line("ultralytics.nn.tasks.DetectionModel")
        + b")\x81}"
        + encode("names")
        + doubled(60, b"]", lambda one: b"](" + one + one + b"e")
        + b"sb"
    ),
    "a far place in the memo": lambda: as_zip(b"Nr" + struct.pack("<I", 2**32 - 1)),
    "a tower of feature maps": lambda: network(tower),
    "feature maps joined with themselves": lambda: network(doubling),
    "doubled sequences": lambda: network(nested),
    "a layer that never ends": lambda: network(repeated),
    "a padding beyond all bounds": lambda: network(padded),
    "a layer that holds itself": lambda: network(a_cycle),
}


def main(folder: Path) -> None:
    """Write and load every bomb, and print its name, the seconds it took and what came of it."""
    files = {}
    for number, (name, make) in enumerate(BOMBS.items()):
        files[name] = folder / f"{number}.pt"
        files[name].write_bytes(make())
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
    for name, path in files.items():
        began = time.monotonic()
        try:
            load_safely(path)
            came = "loaded"
        except ModelError as exc:
            came = f"ModelError: {exc}"
        print(name, f"{time.monotonic() - began:.2f}", came, sep="\t", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
