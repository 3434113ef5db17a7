"""README and docs, and the code in them."""

from __future__ import annotations

import re

from support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE = {
    f"{page.stem}-{number}": code
    for page in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL), 1)
}
COMMANDS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
