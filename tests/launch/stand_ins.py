"""Programs that stand in for a cluster's: found first on PATH, they write down their arguments."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
BASH_SCRIPTS = sorted([*LAUNCH.rglob("*.sh"), *LAUNCH.rglob("*.sbatch")])


class StandIns:
    """A folder of programs and the environment in which they, and little else, are found."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "calls.log"
        (folder / "bin").mkdir()
        path = f"{folder / 'bin'}:{os.environ['PATH']}"
        self.env = {"PATH": path, "HOME": str(folder), "CALLS": str(self.log)}

    def add(self, name: str, text: str) -> Path:
        """A program; Python if the text says so in its first line, else bash."""
        path = self.folder / "bin" / name
        shebang = f"#!{sys.executable}\n" if text.startswith("# python") else "#!/bin/bash\n"
        path.write_text(shebang + text)
        path.chmod(0o755)
        return path

    def recorder(self, name: str, then: str = "") -> Path:
        """A program that notes its name and arguments, shell-quoted, and then does `then`."""
        return self.add(name, f'printf "%s\\n" "{name}$(printf " %q" "$@")" >> "$CALLS"\n{then}\n')

    def calls(self) -> list[str]:
        """What was called with what, in order."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def run(self, *command: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end, in the folder."""
        return subprocess.run(
            [str(word) for word in command],
            cwd=self.folder,
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=60,
        )
