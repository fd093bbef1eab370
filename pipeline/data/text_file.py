"""A path → its lines as text; what is wrong with the bytes becomes one clear error."""

import codecs
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

# Longest line, and longest CSV cell, that is read at all. A quote that is never closed makes one
# cell of the rest of the file: the limit turns that into an error instead of into full memory.
MAX_CELL_CHARACTERS = 64 * 1024 * 1024
READ_BYTES = 1024 * 1024

SIGNATURES = {
    b"\x1f\x8b": "gzip data without .gz in its name: add it",
    b"PK\x03\x04": "a zip archive or a workbook: unpack it, or save the sheet as CSV",
}
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class FileStamp:
    """What a file was when it was first read.

    Attributes:
        path: The file.
        size_bytes: Its size.
        mtime_ns: Its time of modification, in nanoseconds.
        sha256: Digest of its raw (packed) bytes.
    """

    path: Path
    size_bytes: int
    mtime_ns: int
    sha256: str

    def check_unchanged(self) -> None:
        """Raises `ValueError` if the file has other bytes now than when it was first read."""
        status = self.path.stat()
        if (status.st_size, status.st_mtime_ns) == (self.size_bytes, self.mtime_ns):
            return
        if status.st_size == self.size_bytes and sha256_of(self.path) == self.sha256:
            return
        raise ValueError(
            f"{self.path} changed since it was opened (was {self.size_bytes} bytes, is "
            f"{status.st_size}). Its rows are read several times: leave it alone, and start again."
        )


def sha256_of(*paths: Path) -> str:
    """Returns the SHA-256 of the files' bytes, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(READ_BYTES):
                digest.update(block)
    return digest.hexdigest()


def stamp_file(path: Path) -> FileStamp:
    """Reads the whole file once for its digest."""
    status = path.stat()
    return FileStamp(path, status.st_size, status.st_mtime_ns, sha256_of(path))


def is_gzip(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def open_binary(path: Path) -> BinaryIO:
    """Opens the unpacked bytes of a plain or gzipped file."""
    return cast(BinaryIO, gzip.open(path, "rb")) if is_gzip(path) else path.open("rb")


def read_lines(path: Path, *, newline: str) -> Iterator[str]:
    """Yields lines with their ends; a byte order mark at the start is dropped.

    Args:
        path: UTF-8 text, plain or gzipped.
        newline: As for `open`: `""` ends lines at CR, LF and CRLF, `"\\n"` at LF only.

    Raises:
        ValueError: The bytes are not UTF-8, the gzip stream is broken, or a line is too long.
    """
    try:
        yield from decode_lines(path, newline=newline)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{path} is not a whole gzip file ({error}). Pack or download it again."
        ) from error


def decode_lines(path: Path, *, newline: str) -> Iterator[str]:
    try:
        with open_binary(path) as binary:
            if binary.read(3) != codecs.BOM_UTF8:
                binary.seek(0)
            text = io.TextIOWrapper(binary, encoding="utf-8", newline=newline)
            while line := text.readline(MAX_CELL_CHARACTERS):
                if len(line) == MAX_CELL_CHARACTERS and not line.endswith("\n"):
                    raise ValueError(
                        f"{path} has a line of more than {MAX_CELL_CHARACTERS} characters, "
                        f"the longest that is read. Is it the right file?"
                    )
                yield line
    except UnicodeDecodeError as error:
        raise ValueError(describe_wrong_encoding(path)) from error


def describe_wrong_encoding(path: Path) -> str:
    """Finds the first byte that is not UTF-8 and says where it is and what to do."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    head, offset = b"", 0
    with open_binary(path) as binary:
        while True:
            block = binary.read(READ_BYTES)
            head = head or block[:4]
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                offset += error.start - pending
                byte = error.object[error.start]
                break
            offset += len(block)
    for signature, advice in SIGNATURES.items():
        if head.startswith(signature):
            return f"{path} is {advice}."
    encoding = "UTF-16" if head.startswith(UTF16_MARKS) else "WINDOWS-1252"
    unpacked = " of the unpacked text" if is_gzip(path) else ""
    return (
        f"{path} is not UTF-8: byte 0x{byte:02X} at offset {offset}{unpacked}. Save it as UTF-8; "
        f"if it is {encoding}: iconv -f {encoding} -t UTF-8 OLD > NEW."
    )
