"""Makes hostile checkpoints: small pickles written opcode by opcode, in every file format of torch."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgeprune.models.checkpoint.fields import KNOWN
from edgeprune.models.checkpoint.names import CALLS

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
OUTSIDE = (
    "builtins.eval",
    "builtins.exec",
    "builtins.compile",
    "builtins.__import__",
    "builtins.open",
    "builtins.getattr",
    "builtins.print",
    "os.system",
    "posix.system",
    "subprocess.Popen",
    "importlib.import_module",
    "functools.partial",
    "operator.methodcaller",
    "runpy.run_path",
    "torch.load",
    "torch.hub.load",
    "torch.jit.load",
    "torch.serialization.load",
    "torch.ops.load_library",
    "torch.nn.Module",
    "torch.Tensor",
    "torch._utils._rebuild_wrapper_subclass",
    "torch._tensor._rebuild_from_type_v2",
    "torch.nn.modules.container.ModuleDict",
    "numpy.load",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "pathlib.Path.touch",
    "pathlib.PosixPath",
    "ultralytics.YOLO",
    "ultralytics.nn.tasks.yaml_model_load",
    "ultralytics.nn.tasks.parse_model",
    "ultralytics.nn.tasks.SegmentationModel",
    "ultralytics.nn.modules.block.TorchVision",
    "ultralytics.utils.loss.v8DetectionLoss",
    "ultralytics.utils.checks.check_requirements",
    "ultralytics.utils.downloads.safe_download",
    "edgeprune.models.checkpoint.names._bound",
    "collections.namedtuple",
    "collections.defaultdict",
    "copyreg.__newobj__",
)
"""Names that a hostile file may want beside those on the list."""
CALLEES = (*KNOWN, *CALLS, *OUTSIDE)


def values(proof: Path) -> Iterator[tuple[Any, ...]]:
    """Yield the arguments of hostile calls: each would write `proof` where something evaluates it."""
    code = f"open({str(proof)!r}, 'w')"
    config = {
        "nc": 1,
        "channels": 3,
        "activation": code,
        "backbone": [[-1, 1, "Conv", [8, 3, 2]]],
        "head": [[[0, 0, 0], 1, "Detect", ["nc"]]],
    }
    yield ()
    yield (code,)
    yield (config, 3, 1, False)


def encode(value: Any) -> bytes:
    """Return the opcodes that push a plain value, without a memo."""
    if isinstance(value, dict):
        return b"}(" + b"".join(encode(part) for pair in value.items() for part in pair) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(encode, value)) + b"e"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(encode, value)) + b"t"
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    return b"J" + struct.pack("<i", value)


def by_line(name: str) -> bytes:
    """Push a name as protocol 0 to 3 do."""
    module, _, last = name.rpartition(".")
    return f"c{module}\n{last}\n".encode()


def from_stack(name: str) -> bytes:
    """Push a name as protocol 4 does."""
    module, _, last = name.rpartition(".")
    return encode(module) + encode(last) + b"\x93"


def calls(name: str, arguments: tuple[Any, ...]) -> Iterator[tuple[str, bytes]]:
    """Yield every way in which a pickle can call a name, with a word for each."""
    module, _, last = name.rpartition(".")
    parts = b"".join(map(encode, arguments))
    for how, named in (("line", by_line(name)), ("stack", from_stack(name))):
        yield f"REDUCE {how}", named + encode(arguments) + b"R"
        yield f"NEWOBJ {how}", named + encode(arguments) + b"\x81"
        yield f"NEWOBJ_EX {how}", named + encode(()) + encode({"cfg": list(arguments)}) + b"\x92"
        yield f"OBJ {how}", b"(" + named + parts + b"o"
    yield "INST", b"(" + parts + f"i{module}\n{last}\n".encode()


def touches(name: str, arguments: tuple[Any, ...]) -> Iterator[tuple[str, bytes]]:
    """Yield every way in which a pickle can hand something to a name or to an object of it."""
    given, parts = encode(arguments), b"".join(map(encode, arguments))
    for how, named in (("line", by_line(name)), ("stack", from_stack(name))):
        for what, target in (("an object", named + b")\x81"), ("the name", named)):
            yield f"BUILD {what} {how}", target + encode({"__setstate__": 1, "__class__": 2}) + b"b"
            yield f"BUILD slots of {what} {how}", target + encode(({"a": 1}, {"forward": 2})) + b"b"
            yield f"APPEND {what} {how}", target + given + b"a"
            yield f"APPENDS {what} {how}", target + b"(" + parts + b"e"
            yield f"SETITEM {what} {how}", target + encode("a") + given + b"s"
            yield f"SETITEMS {what} {how}", target + b"(" + encode("a") + given + b"u"
            yield f"ADDITEMS {what} {how}", target + b"(" + parts + b"\x90"
        data = named + encode("0") + encode("cpu") + encode(4)
        yield f"BINPERSID storage {how}", b"(" + encode("storage") + data + b"tQ"
        yield (
            f"BINPERSID module {how}",
            b"(" + encode("module") + named + encode("f") + encode("x") + b"tQ" + (given + b"R"),
        )
        yield f"a key {how}", b"}" + named + encode(1) + b"s"
        yield (
            f"a method {how}",
            by_line("builtins.getattr") + b"(" + named + encode("__init__") + b"tR" + (given + b"R"),
        )
    yield "PERSID", f"P{name}\n".encode()


def extensions() -> Iterator[tuple[str, bytes]]:
    """Yield calls through the registry of extensions, whose codes 240 to 242 the test registers."""
    for label, opcode in (
        ("EXT1", b"\x82\xf0"),
        ("EXT2", b"\x83\xf1\x00"),
        ("EXT4", b"\x84\xf2\x00\x00\x00"),
    ):
        yield label, opcode + encode(("touch proof",)) + b"R"


def framed(body: bytes, protocol: int = 4) -> bytes:
    """Make a whole pickle of a value's opcodes: a checkpoint whose model it is."""
    return b"\x80" + bytes([protocol]) + b"}" + encode("model") + body + b"s."


def write_zip(content: bytes, path: Path) -> None:
    """Write a pickle as torch does since 1.6."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/data/0", bytes(64))


def write_legacy(content: bytes, path: Path) -> None:
    """Write a pickle as torch did before 1.6."""
    head = b"".join(pickle.dumps(value, protocol=2) for value in (MAGIC, PROTOCOL, {"little_endian": True}))
    path.write_bytes(head + content + pickle.dumps([], protocol=2))


def write_plain(content: bytes, path: Path) -> None:
    """Write a pickle on its own."""
    path.write_bytes(content)


FORMATS: dict[str, Callable[[bytes, Path], None]] = {
    "zip": write_zip,
    "legacy": write_legacy,
    "plain": write_plain,
}


def corpus(proof: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every hostile call of the corpus, with a word for each."""
    for name in CALLEES:
        for arguments in values(proof):
            for how, body in calls(name, arguments):
                yield f"{name} {how}", framed(body)
    for how, body in extensions():
        yield how, framed(body)


def gifts(proof: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every hostile pickle that hands something to a name or to an object of it."""
    for name in CALLEES:
        for how, body in touches(name, (f"open({str(proof)!r}, 'w')",)):
            yield f"{name} {how}", framed(body)


def in_zip(records: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return an archive of records."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in records.items():
            archive.writestr(f"archive/{name}", content)
    return buffer.getvalue()
