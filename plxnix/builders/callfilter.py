"""A filter of system calls, as Nix has one: what a builder in the sandbox may not ask the kernel.

Nix refuses setuid and setgid permissions, which no output may have, and extended attributes, which
no NAR holds. Here a builder also may not outlive its parent by taking back that it dies with it.
Source: seccomp(2), the kernel's "Seccomp BPF"; Nix, `setupSeccomp`. The filter is one for all
machines: it asks for the kind of call first.
"""

from __future__ import annotations

import errno
import struct
import sys

_LOAD, _EQUAL, _ANY, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000

#: Where the number, the kind and the first argument of a call are (struct seccomp_data).
_NUMBER, _KIND, _ARGUMENTS = 0, 4, 16

_SET_ID, _PARENT_DEATH_SIGNAL = 0o6000, 1

#: Bit that marks the numbers of the x32 calls, which have the same kind as those of x86_64.
_X32 = 0x40000000

#: By kind of call: the numbers of chmod, fchmod; fchmodat, fchmodat2; those that set extended
#: attributes; prctl.
_CALLS: dict[int, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    0xC000003E: ((90, 91), (268, 452), (188, 189, 190), (157,)),  # x86_64
    0x40000003: ((15, 94), (306, 452), (226, 227, 228), (172,)),  # i386
    0xC00000B7: ((52,), (53, 452), (5, 6, 7), (167,)),  # aarch64
    0x40000028: ((15, 94), (333, 452), (226, 227, 228), (172,)),  # arm
}


def call_filter() -> bytes:
    """Return the filter as the kernel takes it; empty on machines whose arguments lie otherwise."""
    if sys.byteorder != "little":
        return b""
    program = bytearray()
    for kind, (modes, modes_at, attributes, control) in _CALLS.items():
        block = bytearray()
        for number in _both(kind, modes):
            block += _rule(number, _ARGUMENTS + 8, _ANY, _SET_ID, errno.EPERM)
        for number in _both(kind, modes_at):
            block += _rule(number, _ARGUMENTS + 16, _ANY, _SET_ID, errno.EPERM)
        for number in _both(kind, control):
            block += _rule(number, _ARGUMENTS, _EQUAL, _PARENT_DEATH_SIGNAL, errno.EPERM)
        for number in _both(kind, attributes):
            block += _one(_LOAD, _NUMBER) + _one(_EQUAL, number, 0, 1)
            block += _one(_RETURN, _FAIL | errno.ENOTSUP)
        block += _one(_RETURN, _ALLOW)
        program += _one(_LOAD, _KIND) + _one(_EQUAL, kind, 0, len(block) // 8) + block
    return bytes(program + _one(_RETURN, _ALLOW))


def _both(kind: int, numbers: tuple[int, ...]) -> tuple[int, ...]:
    return (*numbers, *(one | _X32 for one in numbers)) if kind == 0xC000003E else numbers


def _rule(number: int, argument: int, test: int, value: int, error: int) -> bytes:
    """Let a call fail with `error` if a test of one of its arguments holds."""
    return (
        _one(_LOAD, _NUMBER)
        + _one(_EQUAL, number, 0, 3)
        + _one(_LOAD, argument)
        + _one(test, value, 0, 1)
        + _one(_RETURN, _FAIL | error)
    )


def _one(code: int, value: int, if_so: int = 0, if_not: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_so, if_not, value)
