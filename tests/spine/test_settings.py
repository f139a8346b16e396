"""A process that may not run on its rung refuses to start, and says everything that is wrong at once (authority.md 4, 5.4)."""

import pytest

from spine.settings import PostureError, Settings, load_settings, posture_reasons

LOCAL = {
    "FP_ENV": "local_parity",
    "FP_RELEASE_ID": "git-0123456789ab",
    "FP_KAFKA_BOOTSTRAP": "127.0.0.1:9092",
    "FP_KAFKA_SECURITY": "PLAINTEXT",
    "FP_DATABASE_URL": "postgresql://df:secret-word@127.0.0.1:5432/fp",
    "FP_HTTP_PORT": "8080",
    "FP_TOKEN_SECRET": "another-secret",
}
DEV_FULL = LOCAL | {
    "FP_ENV": "dev_full",
    "FP_IMAGE": "registry.internal/fp/decision_fabric@sha256:" + "a" * 64,
    "FP_KAFKA_BOOTSTRAP": "boot-1.kafka-serverless.eu-west-2.amazonaws.com:9098",
    "FP_KAFKA_SECURITY": "SASL_IAM",
    "FP_KAFKA_REGION": "eu-west-2",
    "FP_DATABASE_URL": "postgresql://df:secret-word@aurora.internal:5432/fp?sslmode=verify-full",
    "FP_PROVIDER_URL": "https://provider.internal",
}


def settings_of(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Settings()


def test_a_right_dev_full_process_may_start(monkeypatch: pytest.MonkeyPatch) -> None:
    assert posture_reasons(settings_of(monkeypatch, DEV_FULL)) == []


def test_a_laptop_s_settings_on_dev_full_are_refused_for_every_reason_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"FP_ENV": "dev_full", "FP_FAULTS": "KILL COMMITTED 1", "FP_TOPIC_PREFIX": "t.", "FP_RELEASE_ID": "latest"}
    for name, value in (LOCAL | wrong | {"FP_PROVIDER_URL": "http://localhost:9"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(PostureError) as refused:
        load_settings()
    told = "\n".join(refused.value.reasons)
    for part in (
        "FP_RELEASE_ID",
        "FP_FAULTS",
        "FP_TOPIC_PREFIX",
        "FP_KAFKA_BOOTSTRAP: host 127.0.0.1",
        "FP_DATABASE_URL: host 127.0.0.1",
        "FP_PROVIDER_URL: host localhost",
        "FP_KAFKA_SECURITY=PLAINTEXT",
        "FP_KAFKA_REGION",
        "FP_IMAGE",
        "sslmode",
        "plain http",
    ):
        assert part in told
    assert "secret" not in told.replace("FP_TOKEN_SECRET", "")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "[::1]", "0.0.0.0"])
def test_every_spelling_of_this_machine_is_refused(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    reasons = posture_reasons(settings_of(monkeypatch, DEV_FULL | {"FP_KAFKA_BOOTSTRAP": f"{host}:9098"}))
    assert len(reasons) == 1 and "FP_KAFKA_BOOTSTRAP" in reasons[0]


def test_timeouts_out_of_order_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = posture_reasons(settings_of(monkeypatch, LOCAL | {"FP_TIMEOUT_LEASE": "1.0", "FP_TIMEOUT_LOCK": "9"}))
    assert reasons == [
        "FP_TIMEOUT_LOCK=9 must be below FP_TIMEOUT_STATEMENT=2.5",
        "FP_TIMEOUT_DRAIN=4 must be below FP_TIMEOUT_LEASE=1",
    ]


def test_the_config_digest_follows_behaviour_and_not_places_or_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    base = settings_of(monkeypatch, LOCAL).config_digest()
    places = {"FP_HTTP_PORT": "1", "FP_TOKEN_SECRET": "x", "FP_DATABASE_URL": "postgresql://h/x", "FP_KAFKA_BOOTSTRAP": "h:1"}
    assert settings_of(monkeypatch, LOCAL | places).config_digest() == base
    assert settings_of(monkeypatch, LOCAL | {"FP_BATCH_MAX": "7"}).config_digest() != base


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = repr(settings_of(monkeypatch, LOCAL))
    assert "secret-word" not in shown and "another-secret" not in shown
