"""On what the measurements were made: the machine and the versions."""

import os
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_PACKAGES = (
    "millrace",
    "bytewax",
    "chdb",
    "clickhouse-connect",
    "numba",
    "numpy",
    "pydantic",
    "pydantic-core",
)


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine, as far as it matters for speed."""

    cpu: str
    cores: int
    cores_used: int
    memory_bytes: int
    system: str
    load_before: float
    """How busy the machine was with other things, as the load average of a minute."""
    versions: dict[str, str]


def this_machine(cores_used: int) -> Machine:
    """Describe the machine that this process runs on."""
    return Machine(
        _cpu(),
        os.cpu_count() or 1,
        cores_used,
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        f"{platform.system()} {platform.release()} {platform.machine()}",
        round(os.getloadavg()[0], 2),
        {"python": platform.python_version(), **_versions()},
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def resident_bytes() -> int:
    """What this process holds in memory now, where the system tells."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf(
            "SC_PAGE_SIZE"
        )
    except OSError:
        return 0
