"""Event types and codes of the log, and their names in three languages.

Documented numbers are the guide's (TS-API guide 0.9.20 and v1 guide 1.1.0, eventType samples). The
vendor prints other numbers in v1 than in v0 and leaves several out; where a number had to be invented
it is marked. A reader who follows the eventType table never notices.
"""

from __future__ import annotations

from typing import Any, NamedTuple

SYSTEM, PRIVACY, USER_DEFINED = 0, 1, 6
EMERGENCY = 7  # invented
CAMERA = 100  # internal: type 1 on v1, unknown to v0

CONNECTED, DISCONNECTED = 100, 101
CALL_START, CALL_END = 1, 2
STORAGE_ERROR, FRAME_DROP, MISSING_RECORDING = 24, 40, 41  # invented
FRAME_DROP_NAMED_SINCE = "1.0.3"


class Names(NamedTuple):
    """English, Korean, Spanish."""

    en: str
    ko: str
    es: str

    def of(self, lang: str) -> str:
        """Return the name in a language such as `ko-KR`; English for those not known."""
        return {"ko": self.ko, "es": self.es}.get(lang[:2].lower(), self.en)


_TYPES: dict[int, Names] = {
    SYSTEM: Names("System log", "시스템 로그", "Registro del sistema"),
    PRIVACY: Names("Privacy", "개인정보", "Privacidad"),
    USER_DEFINED: Names("User-defined event", "사용자 정의 이벤트", "Evento definido por el usuario"),
    EMERGENCY: Names("Emergency call", "비상 호출", "Llamada de emergencia"),
    CAMERA: Names("Camera", "카메라", "Cámara"),
}
_CODES: dict[int, dict[int, Names]] = {
    SYSTEM: {
        1: Names("System startup", "시스템 시작", "Inicio del sistema"),
        2: Names("System shutdown", "시스템 종료", "Apagado del sistema"),
        3: Names("Abnormal shutdown", "비정상 종료", "Apagado anormal"),
        STORAGE_ERROR: Names("Storage error", "저장소 오류", "Error de almacenamiento"),
        25: Names("Storage ready", "저장소 준비", "Almacenamiento listo"),
        27: Names("License applied", "라이선스 적용", "Licencia aplicada"),
        30: Names("Storage path changed", "저장 경로 변경", "Ruta de almacenamiento cambiada"),
        FRAME_DROP: Names("Recording frame drop", "녹화 프레임 누락", "Fotogramas perdidos"),
        MISSING_RECORDING: Names("Missing recording", "녹화 누락", "Grabación perdida"),
    },
    PRIVACY: {4: Names("Sign in", "로그인", "Inicio de sesión")},
    EMERGENCY: {
        CALL_START: Names("Call start", "호출 시작", "Inicio de llamada"),
        CALL_END: Names("Call end", "호출 종료", "Fin de llamada"),
    },
    CAMERA: {
        CONNECTED: Names("Connected", "연결됨", "Conectada"),
        DISCONNECTED: Names("Disconnected", "연결 끊김", "Desconectada"),
    },
}
_OLD_FRAME_DROP = Names("Disk write delay", "디스크 쓰기 지연", "Retraso de escritura")
_UNKNOWN = Names("Unknown", "알 수 없음", "Desconocido")

_V1_TYPES = {SYSTEM: 0, CAMERA: 1, PRIVACY: 2, USER_DEFINED: 6, EMERGENCY: 7}


def number(kind: int, *, v1: bool) -> int | None:
    """Return the number a dialect gives to a type, or None when it does not know it."""
    if v1:
        return _V1_TYPES.get(kind, kind)
    return None if kind == CAMERA else kind


def names(kind: int, code: int, lang: str, *, old_names: bool) -> tuple[str, str]:
    """Return type name and code name; codes nobody knows have a name too."""
    named = _CODES.get(kind, {}).get(code, _UNKNOWN)
    if old_names and (kind, code) == (SYSTEM, FRAME_DROP):
        named = _OLD_FRAME_DROP
    return _TYPES.get(kind, _UNKNOWN).of(lang), named.of(lang)


def table(lang: str, *, v1: bool, old_names: bool, emergency: bool) -> list[dict[str, Any]]:
    """Return the answer to `what=eventType`."""
    listed = []
    for kind, named in _TYPES.items():
        shown = number(kind, v1=v1)
        if shown is None or (kind == EMERGENCY and not emergency):
            continue
        entry: dict[str, Any] = {"id": shown, "name": named.of(lang)}
        codes = _CODES.get(kind)
        if codes:
            entry["code"] = [{"id": code, "name": names(kind, code, lang, old_names=old_names)[1]} for code in codes]
        listed.append(entry)
    return sorted(listed, key=lambda entry: int(entry["id"]))
