"""Texts of the kinds that people send, for what depends on how tokenizers see them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["ENGLISH", "PROSE", "TEXTS"]

ENGLISH = (
    "The old ship sails slowly over the wide blue sea, and nobody on board knows where it is going tonight. "
    "The captain has locked his door; the cook says that they have turned twice since noon. "
)
_FRENCH = (
    "Le vieux navire avance lentement sur la mer, et personne à bord ne sait où il sera demain matin. "
    "Le capitaine s'est enfermé dans sa cabine ; d'après le cuisinier, on a déjà fait demi-tour deux fois. "
)
_GERMAN = (
    "Das alte Schiff fährt langsam über das weite blaue Meer, und niemand an Bord weiß, wohin es heute Nacht geht. "
    "Der Kapitän hat sich eingeschlossen; der Schiffskoch behauptet, man habe seit Mittag zweimal gewendet. "
)
_CHINESE = (
    "那艘旧船在宽阔的蓝色大海上慢慢航行，船上没有人知道今晚要去哪里。"
    "船长锁上了自己的房门，厨师说从中午到现在已经掉了两次头。大家坐在甲板上，谁也不说话。"
)
_JAPANESE = (
    "その古い船は広く青い海をゆっくりと進んでいくが、今夜どこへ向かうのか、乗っている者は誰も知らない。"
    "船長は部屋に鍵をかけてしまい、料理人は昼から二度も向きを変えたと言っている。"
)
_RUSSIAN = (
    "Старый корабль медленно идёт по широкому синему морю, и никто на борту не знает, куда он плывёт этой ночью. "
    "Капитан заперся в каюте, а повар говорит, что с полудня они уже дважды повернули назад. "
)
_LINES = "yes\nno\nnot yet\nwhy?\nwait\nok\nsee you\nmaybe later\n"
_TABLE = "".join(f"{row},harbour {row % 7},{row * 13.7:.1f},true\n" for row in range(8))

PROSE = {"English": ENGLISH, "French": _FRENCH, "German": _GERMAN, "Chinese": _CHINESE, "Japanese": _JAPANESE,
         "Russian": _RUSSIAN}  # fmt: skip
TEXTS = {**PROSE, "short lines": _LINES, "a table": _TABLE, "code": Path(__file__).read_text(encoding="utf-8")[-900:]}
