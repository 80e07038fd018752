"""What pyproject.toml cannot say: the playbooks of the top folder go into the package, as opsdoc/playbooks."""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PLAYBOOKS = [str(path) for path in sorted(Path("playbooks").glob("*.yml"))]


class BuildWithPlaybooks(build_py):
    """Copies the playbooks beside the modules; an editable install reads them where they are."""

    def run(self) -> None:
        """Build, with the playbooks."""
        super().run()
        if not self.editable_mode:
            folder = Path(self.build_lib, "opsdoc", "playbooks")
            self.mkpath(str(folder))
            for path in PLAYBOOKS:
                self.copy_file(path, str(folder))

    def get_source_files(self) -> list[str]:
        """What a source distribution needs."""
        return [*super().get_source_files(), *PLAYBOOKS]


setup(cmdclass={"build_py": BuildWithPlaybooks})
