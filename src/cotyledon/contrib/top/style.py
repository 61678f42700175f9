"""The colours, for dark and for light terminals.

Responsible for how it looks; the tones of the cells are named here. Never for where it is.
"""

from textual.theme import Theme

DARK = Theme(
    name="cotyledon-dark",
    primary="#7cc46b",
    secondary="#6cb6ff",
    accent="#c79bf2",
    success="#7cc46b",
    warning="#e6b450",
    error="#f47067",
    foreground="#d5dae1",
    background="#12161b",
    surface="#191f26",
    panel="#222a33",
    dark=True,
    variables={
        "text-success": "#7cc46b",
        "text-warning": "#e6b450",
        "text-error": "#f47067",
        "text-accent": "#c79bf2",
        "text-secondary": "#6cb6ff",
        "faint": "#7d8794",
        "row": "#2b3744",
        "footer-key-foreground": "#7cc46b",
    },
)
LIGHT = Theme(
    name="cotyledon-light",
    primary="#2f7d22",
    secondary="#0b62b8",
    accent="#7a3db8",
    success="#2f7d22",
    warning="#8f5a00",
    error="#c0271d",
    foreground="#1c232b",
    background="#fbfcfd",
    surface="#f0f2f5",
    panel="#e4e8ec",
    dark=False,
    variables={
        "text-success": "#2f7d22",
        "text-warning": "#8f5a00",
        "text-error": "#c0271d",
        "text-accent": "#7a3db8",
        "text-secondary": "#0b62b8",
        "faint": "#66707c",
        "row": "#d4e3f3",
        "footer-key-foreground": "#2f7d22",
    },
)

CSS = """
Screen { background: $background; color: $foreground; }
Header { height: 2; background: $panel; }
Table { height: 1fr; padding: 0 1; scrollbar-size-vertical: 1; overflow-x: hidden; }
#detail { height: 1; padding: 0 1; background: $surface; color: $faint; text-wrap: nowrap;
    text-overflow: ellipsis; }
Log { height: 25%; min-height: 3; max-height: 14; padding: 0 1;
    scrollbar-size-vertical: 1; overflow-x: hidden; }
Log.tall { height: 50%; max-height: 50%; }
Log:focus { background: $surface; }
Lines { scrollbar-gutter: stable; }
Lines > .tone--title { color: $faint; text-style: bold; }
Lines > .tone--good { color: $text-success; }
Lines > .tone--warn { color: $text-warning; }
Lines > .tone--bad { color: $text-error; }
Lines > .tone--dim { color: $faint; }
Lines > .tone--when { color: $faint; }
Lines > .tone--worker { color: $faint; }
Lines > .tone--service { text-style: bold; }
Lines > .tone--who { text-style: bold; }
Lines > .tone--memory { color: $text-accent; }
Lines > .tone--cpu { color: $text-secondary; }
Lines > .tone--cursor { background: $row; }
Confirm, Ask, Reading { align: center middle; background: $background 60%; }
.box { width: auto; min-width: 44; max-width: 90%; height: auto; padding: 1 2;
    border: round $primary; background: $surface; }
.box > Static { width: auto; max-width: 100%; }
.box > Input { width: 40; border: none; height: 1; margin: 1 0 0 0; padding: 0 1;
    background: $panel; }
Toast { background: $panel; }
.keys { margin: 1 0 0 0; color: $primary; }
.page { width: 96%; max-width: 120; height: auto; max-height: 96%; padding: 0 2;
    border: round $primary; background: $surface; }
.page > VerticalScroll { height: auto; max-height: 100%; scrollbar-size-vertical: 1; }
.page > .title { margin: 0 0 1 0; color: $primary; }
.page > .keys { dock: bottom; margin: 0; height: 1; }
.page > VerticalScroll { margin: 0 0 1 0; }
"""
