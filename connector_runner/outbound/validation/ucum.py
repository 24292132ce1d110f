"""Whether a unit is one of UCUM (https://ucum.org/ucum, sections 2 and 4): case-sensitive expressions of known atoms.

``mg/dL``, ``10*3/uL``, ``mm[Hg]``, ``{beats}/min``, ``kg.m-2``. The atoms are those of healthcare use; an atom
that is missing here is refused, which a person sees and can put right by adding it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

SYSTEM: Final = "http://unitsofmeasure.org"
_MAX = 128


def _atoms(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PREFIXES = ("da", "Y", "Z", "E", "P", "T", "G", "M", "k", "h", "d", "c", "m", "u", "n", "p", "f", "a", "z", "y",
             "Ki", "Mi", "Gi", "Ti")  # fmt: skip
_METRIC = _atoms(
    "m s g rad K C cd mol sr Hz N Pa J W A V F Ohm S Wb Cel T H lm lx Bq Gy Sv l L ar t bar u eV pc"
    " [iU] [IU] [arb'U] [USP'U] [GPL'U] [MPL'U] [APL'U] [beth'U] [anti'Xa'U] [todd'U] [dye'U] [smgy'U] [bdsk'U]"
    " [ka'U] [knk'U] [mclg'U] [tb'U] [CCID_50] [TCID_50] [EID_50] [PFU] [FFU] [CFU] [IR] [BAU] [AU] [Amb'a'1'U]"
    " [PNU] [Lf] [D'ag'U] [EU] eq osm g% kat U B Np B[SPL] B[V] B[mV] B[uV] B[W] B[kW] bit_s bit By Bd"
    " cal cal_[15] cal_[20] cal_m cal_IT cal_th dyn erg P St R RAD REM Ci m[H2O] m[Hg] gf tex mho ph sb Gb Mx G Oe"
    " Ky Gal Lmb sph"
)
_PLAIN = _atoms(
    "10* 10^ % [ppth] [ppm] [ppb] [pptr] [pi] ' '' deg gon min h d wk mo mo_j mo_s mo_g a a_t a_j a_g"
    " [in_i] [ft_i] [yd_i] [mi_i] [fth_i] [nmi_i] [kn_i] [sin_i] [sft_i] [cin_i] [cft_i] [mil_i] [in_us] [ft_us]"
    " [yd_us] [mi_us] [acr_us] [gal_us] [bbl_us] [qt_us] [pt_us] [gil_us] [foz_us] [fdr_us] [min_us] [crd_us]"
    " [bu_us] [cup_us] [tbs_us] [tsp_us] [foz_m] [cup_m] [tsp_m] [tbs_m] [gal_br] [pt_br] [foz_br] [min_br]"
    " [gr] [lb_av] [oz_av] [dr_av] [stone_av] [lbf_av] [lb_tr] [oz_tr] [pwt_tr] [lb_ap] [oz_ap] [dr_ap] [sc_ap]"
    " [oz_m] [scwt_av] [ston_av] [lton_av] [psi] [Cal] [Btu] [HP] [degF] [degRe] [degR] [diop] [p'diop] %[slope]"
    " [mesh_i] [Ch] [drp] [hnsf'U] [MET] [hp'_X] [hp'_C] [hp'_M] [hp'_Q] [hp_X] [hp_C] [hp_M] [hp_Q] [pH] [S]"
    " [HPF] [LPF] [bth'U] [G] [c] [h] [k] [eps_0] [mu_0] [e] [m_e] [m_p] [g] [ly] atm att AU circ"
    " [car_m] [car_Au] [smoot] [m/s2/Hz^0.5] [NTU] [FNU] [den] [pnt] [lne] [pca] [twip] nit [CP]"
)
_ANNOTATION = r"\{[!-z|~]*\}"
_TRAILING_DIGITS = re.compile(r"^(.*?)([+-]?\d+)$")


@lru_cache(maxsize=2048)
def is_unit(text: str) -> bool:
    """Whether ``text`` is a UCUM expression of atoms that are known here."""
    if not text or len(text) > _MAX or not text.isascii():
        return False
    bare = re.sub(_ANNOTATION, "{}", text)
    if any(character.isspace() for character in bare) or not _balanced(bare):
        return False
    terms = re.split(r"[./]", bare.removeprefix("/"))
    return all(_is_term(term) for term in _whole_atoms(terms))


def _balanced(text: str) -> bool:
    depth = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return False
    return depth == 0


def _whole_atoms(terms: list[str]) -> list[str]:
    """Terms whose brackets hold a dot or a slash put together again: ``[m/s2/Hz^0.5]``."""
    joined: list[str] = []
    for term in terms:
        if joined and joined[-1].count("[") > joined[-1].count("]"):
            joined[-1] += f"/{term}"
        else:
            joined.append(term)
    return joined


def _is_term(term: str) -> bool:
    inner = term.replace("(", "").replace(")", "")
    annotated = inner.endswith("{}")
    inner = inner.replace("{}", "")
    if not inner:
        return annotated
    if inner.isdigit() or _is_atom(inner):
        return True
    found = _TRAILING_DIGITS.match(inner)
    return found is not None and bool(found[1]) and (found[1].isdigit() or _is_atom(found[1]))


def _is_atom(text: str) -> bool:
    if text in _PLAIN or text in _METRIC:
        return True
    return any(text.startswith(prefix) and text[len(prefix) :] in _METRIC for prefix in _PREFIXES)
