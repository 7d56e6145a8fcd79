"""Small finished runs to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prefgen.records import Pair
from prefgen.rundir.shards import Plan, RunDirectory
from tests.handmade import FINGERPRINT, PROVENANCE, card, pair

# 50 strings that would do something if they were taken for more than text.
_PAYLOADS = """\
<script>window.pwned=1</script>
</script><script>window.pwned=1</script>
<img src=x onerror=window.pwned=1>
<svg onload=window.pwned=1>
<svg><script>window.pwned=1</script></svg>
<body onload=window.pwned=1>
<iframe src="javascript:parent.pwned=1"></iframe>
<iframe srcdoc="<script>parent.pwned=1</script>"></iframe>
<a href="javascript:window.pwned=1">x</a>
<input autofocus onfocus=window.pwned=1>
<select autofocus onfocus=window.pwned=1>
<textarea autofocus onfocus=window.pwned=1>
<details open ontoggle=window.pwned=1>
<video><source onerror=window.pwned=1></video>
<audio src=x onerror=window.pwned=1>
<object data="javascript:window.pwned=1"></object>
<embed src="javascript:window.pwned=1">
<math><mi xlink:href="javascript:window.pwned=1">x</mi></math>
<marquee onstart=window.pwned=1>x</marquee>
<style>@import 'javascript:window.pwned=1';</style>
<link rel=stylesheet href="javascript:window.pwned=1">
<meta http-equiv=refresh content="0;url=javascript:window.pwned=1">
<base href="javascript:window.pwned=1//">
<form action="javascript:window.pwned=1"><button autofocus>x</button></form>
<isindex action="javascript:window.pwned=1" type=image>
"><script>window.pwned=1</script>
'><script>window.pwned=1</script>
" onmouseover="window.pwned=1" x="
' autofocus onfocus='window.pwned=1
`onerror=window.pwned=1`
--><script>window.pwned=1</script>
]]><script>window.pwned=1</script>
</title><script>window.pwned=1</script>
</textarea><script>window.pwned=1</script>
</style><script>window.pwned=1</script>
</noscript><script>window.pwned=1</script>
<!--<script>window.pwned=1
<script>/*</script><script>*/window.pwned=1</script>
<scr<script>ipt>window.pwned=1</scr</script>ipt>
<SCRIPT SRC=data:text/javascript,window.pwned=1></SCRIPT>
&lt;script&gt;window.pwned=1&lt;/script&gt;
&#60;script&#62;window.pwned=1&#60;/script&#62;
\\u003cscript\\u003ewindow.pwned=1\\u003c/script\\u003e
{{constructor.constructor('window.pwned=1')()}}
${window.pwned=1}
{% raw %}<script>window.pwned=1</script>{% endraw %}
javascript:window.pwned=1
data:text/html,<script>window.pwned=1</script>
"};window.pwned=1;//
\u2028window.pwned=1\u2029</script><script>window.pwned=1</script>\u202e"""
HOSTILE = _PAYLOADS.split("\n")


def made(out: Path, pairs: Sequence[Pair]) -> Path:
    with RunDirectory.open(out, Plan(len(pairs), max(len(pairs), 1), FINGERPRINT)) as run:
        run.commit(0, pairs, PROVENANCE)
        run.finalize(card)
    return out


def mixed(out: Path, rows: int = 12) -> Path:
    """Rows that differ in all that can be filtered and sorted by."""
    return made(
        out,
        [
            pair(
                number,
                similarity=None if number == 3 else round(0.9 - number / 20, 6),
                flags=("similar",) if number % 4 == 0 else (),
                chosen="A red bowl." if number != 5 else "A zebra.",
                rejected="A bowl." + " More." * number,
                spans=(),
                cuts=(),
                finish=(),
            )
            for number in range(rows)
        ],
    )
