"""Command lines with passwords in them, and command lines that only look so.

Every secret is a canary of its own: whatever is printed, logged or recorded, not one may be found in it.
"""

from __future__ import annotations

from typing import NamedTuple


class Planted(NamedTuple):
    """A command line, and the text in it that nobody may ever see."""

    argv: tuple[str, ...]
    secret: str


class Benign(NamedTuple):
    """A command line, and the text in it that must survive."""

    argv: tuple[str, ...]
    survives: str


_JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.Zm9yLXRlc3RzLW9ubHktbm8ta2V5"


def _plant() -> list[Planted]:
    shapes: list[tuple[str, ...]] = [
        ("java", "-Dspring.datasource.password={}", "-jar", "shop.jar"),
        ("java", "-Djavax.net.ssl.keyStorePassword={}", "-jar", "shop.jar"),
        ("java", "-Dfoo.passphrase={}", "-jar", "shop.jar"),
        ("mysql", "--password={}", "shop"),
        ("mysql", "-uroot", "-p{}", "shop"),
        ("/usr/bin/mysqldump", "-p{}", "--all-databases"),
        ("redis-cli", "-a", "{}", "monitor"),
        ("redis-cli", "--pass", "{}", "monitor"),
        ("sshpass", "-p", "{}", "ssh", "web-07"),
        ("sshpass", "-p{}", "ssh", "web-07"),
        ("curl", "-u", "shop:{}", "https://example.org/"),
        ("curl", "--user", "shop:{}", "https://example.org/"),
        ("curl", "-H", "Authorization: Bearer {}", "https://example.org/"),
        ("curl", "-H", "X-Api-Key: {}", "https://example.org/"),
        ("curl", "--oauth2-bearer", "{}", "https://example.org/"),
        ("app", "postgresql://shop:{}@db.example.org/shop"),
        ("app", "amqp://shop:%40{}%2F@mq.example.org:5672/%2F"),
        ("app", "https://example.org/feed?page=2&access_token={}&size=10"),
        ("redis-server", "*:6379", "--requirepass", "{}"),
        ("mongod", "--sslPEMKeyPassword", "{}"),
        ("app", "--password", "two words {}"),
        ("env", "DB_PASS={}", "app"),
        ("PGPASSWORD={}", "psql", "shop"),
        ("sh", "-c", "PASSWORD={} exec app"),
        ("docker", "run", "--env", "SECRET_KEY={}", "shop"),
        ("app", '{{"user": "shop", "password": "{}"}}'),
        ("app", 'sasl.jaas.config=org.example.Plain required username="shop" password="{}";'),
        ("app", "--token", "{}"),
        ("app", "--token={}"),
        ("openssl", "rsa", "-passin", "pass:{}"),
        ("ldapsearch", "-x", "-w", "{}", "-b", "dc=example"),
        ("mongosh", "-u", "shop", "-p", "{}"),
        ("docker", "login", "-u", "shop", "-p", "{}"),
        ("smbclient", "//files/shop", "-U", "shop%{}"),
        ("zip", "-P", "{}", "a.zip", "a"),
        ("7z", "a", "-p{}", "a.7z", "a"),
        ("snmpget", "-v2c", "-c", "{}", "router", "sysUpTime.0"),
        ("app", "--client-secret={}"),
        ("app", "--DbPassword:{}"),
    ]
    planted = []
    for number, shape in enumerate(shapes):
        secret = f"Kq7zCanary{number:02}Wx"
        planted.append(Planted(tuple(word.format(secret) for word in shape), secret))
    whole = [
        "AKIA" + "CANARY2TESTONLY7",
        _JWT,
        "ghp_" + "Canary" * 6,
        "glpat-" + "CanaryCanary20chars1",
        "xoxb-" + "123456789012-canarycanary",
        "sk_live_" + "CanaryCanaryCanary123456",
    ]
    planted.extend(Planted(("app", "--verbose", secret), secret) for secret in whole)
    hook = "T0CANARY1/B0CANARY2/CanaryCanaryCanary123456"
    planted.append(Planted(("notify", "https://hooks.slack.com/services/" + hook), hook))
    return planted


PLANTED: tuple[Planted, ...] = tuple(_plant())

BENIGN: tuple[Benign, ...] = (
    Benign(("app", "--secret-file", "/etc/shop/secret.txt"), "/etc/shop/secret.txt"),
    Benign(("grep", "password", "notes.txt"), "notes.txt"),
    Benign(("java", "-Dpassword.policy.enabled=true", "-jar", "shop.jar"), "-Dpassword.policy.enabled=true"),
    Benign(("serve", "--tokenizer=bpe"), "--tokenizer=bpe"),
    Benign(("app", "pwd=/home/shop"), "pwd=/home/shop"),
    Benign(("etcd", "--auth-token", "simple"), "simple"),
    Benign(("app", "--token-ttl=3600"), "3600"),
    Benign(("app", "--password-file=/run/secrets/db"), "/run/secrets/db"),
    Benign(("nginx: master process /usr/sbin/nginx", "-g", "daemon off;"), "daemon off;"),
    Benign(("java", "-Xmx2g", "-XX:+UseG1GC", "-jar", "order-service.jar"), "order-service.jar"),
    Benign(("postgres: shop shop 10.0.0.7(51234) idle",), "10.0.0.7(51234)"),
    Benign(("python3", "-m", "http.server", "-p", "8000"), "8000"),
    Benign(("ssh", "-p", "2222", "web-07"), "2222"),
    Benign(("mkdir", "-p", "/var/lib/shop"), "/var/lib/shop"),
    Benign(("app", "https://example.org/a?page=2&size=10"), "page=2&size=10"),
    Benign(("celery", "-A", "shop.tasks", "worker", "--concurrency=4"), "shop.tasks"),
    Benign(("node", "--max-old-space-size=4096", "authorize.js"), "authorize.js"),
    Benign(("app", "--author", "Ada"), "Ada"),
    Benign(("app", "--keyboard=de", "--monkey=1"), "--keyboard=de"),
    Benign(("app", "--passes=3", "--compass=north"), "--compass=north"),
)
