"""What an answer says about a code block: its language, its file's name, the heading it stands under."""

from __future__ import annotations

import re

__all__ = ["file_name_for", "language_of", "last_heading"]

_LANGUAGE = re.compile(r"[{\s]*\.?([^\s,:{}]+)")
_ATTRIBUTE = re.compile(r"""\b(file_?name|file|path|title)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s,}"']+))""", re.IGNORECASE)
_COLON_PATH = re.compile(r"[^\s:,{}]+:([^\s:]+)")

_LABEL = re.compile(r"file(?:[ _-]?name|[ _-]?path)?\s*[:=]\s*(.+)", re.IGNORECASE)
_TAG = re.compile(r"<file_?name>(.*)</file_?name>", re.IGNORECASE)
_CODE_SPAN = re.compile(r"`([^`]+)`")
_DECORATION = " \t#*_`:\"'()[]>"

_NAMES_WITHOUT_ENDING = (
    "Caddyfile", "Containerfile", "Dockerfile", "Gemfile", "Jenkinsfile", "LICENSE", "Makefile", "Procfile",
    "Vagrantfile",
)  # fmt: skip
_ENDINGS = (
    " adoc asm astro bash bat bib c cc cfg clj cls cmake cmd coffee conf cpp cs css csv cu cxx d dart diff el"
    " dockerfile elm env erl ex exs f f90 fish fs gd gitignore glsl go gradle graphql groovy h hcl hh hpp hrl hs htm"
    " html hxx ini ino ipynb j2 java jinja jl js json json5 jsonc jsonl jsx kt kts less lisp lock log lua m md mdx"
    " mjs mk ml mm nim nix pas patch php pl pm plist properties proto ps1 psm1 py pyi pyx r rb rkt rs rst s sass sbt"
    " scala scm scss sh sol sql styl sv svelte svg swift tcl tex tf tfvars toml ts tsv tsx txt v vb vhdl vim vue wat"
    " webmanifest wgsl xhtml xml xsl yaml yml zig zsh"
    " "
)


def language_of(info: str) -> str:
    """The language that an info string names, in lower case: its first word, less attributes and braces."""
    match = _LANGUAGE.match(info)
    return match[1].lower() if match else ""


def file_name_for(info: str, text: str, begin: int, fence: int) -> str:
    """The file name given in the info string, or in the last line of `text[begin:fence]`; else `""`."""
    return _in_info(info) or _in_line(_line_before(text, begin, fence))


def _in_info(info: str) -> str:
    if " " not in info and ":" not in info and "=" not in info:
        return ""
    attribute = _ATTRIBUTE.search(info)
    if attribute:
        name = (attribute[2] or attribute[3] or attribute[4] or "").strip()
        # A title may be a sentence.
        return name if attribute[1].lower() != "title" or _is_file_name(name) else ""
    path = _COLON_PATH.match(info)
    if path:
        return path[1]
    words = info.split()
    return words[1] if len(words) == 2 and _is_file_name(words[1]) else ""


def _line_before(text: str, begin: int, end: int) -> str:
    """The last line of `text[begin:end]` that is not blank, if at most one blank line follows it."""
    for _ in range(2):
        newline = text.rfind("\n", begin, end - 1 if end > begin else end)
        line = text[newline + 1 if newline >= 0 else begin : end].strip()
        if line or newline < 0:
            return line
        end = newline + 1
    return ""


def _in_line(line: str) -> str:
    """The file name if the line is a caption: a label, or nothing but a name, or a lead-in such as "In `x.py`:"."""
    if not line or len(line) > 300:
        return ""
    bare = line.strip(_DECORATION)
    if line[0] == "<" and (tag := _TAG.fullmatch(line)):
        return str(tag[1]).strip()
    label = _LABEL.match(bare)
    if label:
        name: str = label[1]
        return name.strip(_DECORATION)
    if _is_file_name(bare):
        return bare
    if line.endswith(":"):
        names: list[str] = [span for span in _CODE_SPAN.findall(line) if _is_file_name(span)]
        if len(names) == 1:
            return names[0]
    return ""


def _is_file_name(name: str) -> bool:
    if not name or any(character in " \t`*\"'<>|()" for character in name) or "://" in name:
        return False
    last = name.replace("\\", "/").rpartition("/")[2]
    _, dot, ending = last.rpartition(".")
    return last in _NAMES_WITHOUT_ENDING or (dot == "." and f" {ending.lower()} " in _ENDINGS)


def last_heading(text: str, begin: int, end: int) -> str:
    """The text of the last heading in `text[begin:end]`; `""` if there is none.

    A heading is a line that begins with `#`, or one that has two or more `=` or `-` as its underline.
    """
    position, heading = _last_hash_heading(text, begin, end)
    return _last_underlined_heading(text, position, end) or heading


def _last_hash_heading(text: str, begin: int, end: int) -> tuple[int, str]:
    """Where the heading's line ends, and its text."""
    while (hash_at := text.rfind("#", begin, end)) >= 0:
        line = text.rfind("\n", begin, hash_at) + 1 or begin
        if match := _HASHES.match(text, line, end):
            heading = text[match.end() : text.find("\n", hash_at)].strip()
            closing = heading.rstrip("#")
            if closing != heading and closing.endswith((" ", "\t")):
                heading = closing
            return hash_at, heading.strip(" \t*_`")
        end = line
    return begin, ""


def _last_underlined_heading(text: str, begin: int, end: int) -> str:
    double, single = (text.rfind(underline, begin, end) for underline in _UNDERLINES)
    while (found := max(double, single)) >= 0:
        if _UNDERLINE.match(text, found + 1, end):
            heading = text[text.rfind("\n", begin, found) + 1 or begin : found].strip(" \t>*_`")
            if heading and not _NO_PARAGRAPH.match(heading):
                return heading
        if found == double:
            double = text.rfind(_UNDERLINES[0], begin, found)
        else:
            single = text.rfind(_UNDERLINES[1], begin, found)
    return ""


_UNDERLINES = ("\n==", "\n--")
_HASHES = re.compile(r"[ >]{0,9}#{1,6}[ \t]")
_UNDERLINE = re.compile(r"(?:=+|-+)[ \t]*(?=\n|\Z)")
_NO_PARAGRAPH = re.compile(r"[#|]|[-+=][ \t=-]|\d{1,9}[.)][ \t]")
"""What begins a line that an underline below it does not make a heading."""
