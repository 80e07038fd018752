"""Secrets are masked whole, in every shape we know; what is evidence stays."""

from __future__ import annotations

import time

import pytest

from opsdoc.redact import LIMIT, MASK, Redactor

D = "DUMMYsecret"
X36 = "x" * 36
JWT = "eyJ" + "hbGciOiJub25l" + "." + "eyJ" + "zdWIiOiJkdW1teSJ9" + "." + "c2ln"
PEM = "-----BEGIN RSA " + "PRIVATE KEY-----\n" + f"{D}\nAAAA\n" + "-----END RSA " + "PRIVATE KEY-----"
SLACK = "https://hooks.slack.com/" + "services/T000/B000/" + D


def argv(*words: str) -> list[str]:
    """The masked command line, which must not change when it is masked again."""
    redactor = Redactor()
    once = redactor.argv(words)
    counts = dict(redactor.counts)
    assert redactor.argv(once) == once
    assert redactor.counts == counts
    return once


def text(value: str) -> str:
    redactor = Redactor()
    once = redactor.text(value)
    counts = dict(redactor.counts)
    assert redactor.text(once) == once
    assert redactor.counts == counts
    return once


# ── what must be masked ──────────────────────────────────────────────────────────────────────────

CORPUS = [
    ["java", f"-Dspring.datasource.password={D}", "-jar", "a.jar"],
    ["java", f"-Djavax.net.ssl.keyStorePassword={D}"],
    ["java", f"-Dfoo.passphrase={D}"],
    ["mysql", f"--password={D}"],
    ["mysql", f"-p{D}", "orders"],
    ["redis-cli", "-a", D, "ping"],
    ["sshpass", "-p", D, "ssh", "host"],
    ["curl", "-u", f"bob:{D}", "http://x/"],
    ["curl", "-H", f"Authorization: Bearer {D}"],
    ["curl", "-H", f"X-Api-Key: {D}"],
    ["psql", f"postgresql://bob:{D}@db:5432/orders"],
    ["worker", f"amqp://bob:p%40ss{D}%2F@mq/vhost"],
    ["wget", f"https://x/y?access_token={D}&page=2"],
    ["redis-server", "--requirepass", D],
    ["mongod", "--sslPEMKeyPassword", D],
    ["app", "--password", f"two {D}"],
    ["env", f"DB_PASS={D}", "app"],
    [f"PGPASSWORD={D}", "psql"],
    ["sh", "-c", f"PASSWORD={D} exec app"],
    ["docker", "run", "--env", f"SECRET_KEY={D}", "app"],
    ["app", '{"password":"' + D + '"}'],
    ["app", f'sasl.jaas.config=org.x.PlainLoginModule required username="u" password="{D}";'],
    ["app", "--token", D],
    ["app", f"--token={D}"],
    ["app", "AKIA" + "DUMMYDUMMYDUMMY1"],
    ["app", JWT],
    ["notify", SLACK],
    ["openssl", "rsa", "-passin", f"pass:{D}"],
]

COMMANDS = [
    ["/usr/bin/mysqldump", "-uroot", f"-p{D}", "db"],
    ["sudo", "-u", "bob", "mysql", f"-p{D}"],
    ["sudo", "-E", "mysqladmin", f"-p{D}", "status"],
    ["timeout", "-s", "KILL", "5", "redis-cli", "-h", "mysql", "-a", D],
    ["nohup", "nice", "-n", "5", "/opt/bin/mariadb", f"-p{D}"],
    ["env", "A=b", "sshpass", f"-p{D}", "ssh", "h"],
    ["sh", "-c", f"mysql -p{D} -e 'select 1' | tee out"],
    ["bash", "-lc", f"sudo curl -sSu bob:{D} http://x/ && echo done"],
    ["sh", "-c", f"sh -c 'redis-cli -a {D} ping'"],
    ["docker", "exec", "-it", "db", "mysql", f"-p{D}"],
    ["kubectl", "exec", "pod", "--", "mysql", f"-p{D}"],
    ["docker", "login", "-u", "bob", "-p", D, "registry"],
    ["curl", f"-ubob:{D}", "http://x/"],
    ["curl", "-sSu", f"bob:{D}", "http://x/"],
    ["curl", "--user", f"bob:{D}"],
    ["curl", "--proxy-user", f"bob:{D}"],
    ["curl", "--oauth2-bearer", D],
    ["curl", "-u", f"{D}:", "https://api.example/"],
    ["curl", "-b", "x", "--cookie", f"sid={D}"],
    ["curl", f"-HX-Auth-Token:{D}"],
    ["wget", f"--header=Authorization: Basic {D}"],
    ["ldapsearch", "-x", "-w", D],
    ["mongosh", "-u", "bob", "-p", D],
    ["rabbitmqadmin", "-p", D],
    ["snmpwalk", "-v", "2c", "-c", D, "host"],
    ["snmpget", "-A", D, "-X", f"2{D}", "host"],
    ["smbclient", "-U", f"bob%{D}", "//h/s"],
    ["zip", "-P", D, "a.zip", "a"],
    ["7z", "x", f"-p{D}", "a.7z"],
    ["app", "--env=JAVA_OPTS=-Dpassword=" + f"one {D}"],
    ["app", "--password", f"-{D}"],
    ["app", "--token", "--password", D],
    ["keytool", "-storepass", D],
    ["app", "-secret", D],
]

TEXTS = [
    f"https://bob:p@ss:w/{D}@host/path",
    f"see http://bob:{D}@host and http://eve:2{D}@host",
    f"amqp://u:{D}@h1,amqp://u:2{D}@h2",
    f"redis://:{D}@cache:6379/0",
    f"postgres://u:a#b?{D}@host/x",
    f"smtp://bob@example.com:{D}@mail",
    f"https://{D}{X36}1@github.com/o/r",
    f"jdbc:oracle:thin:scott/{D}@//db:1521/x",
    f"jdbc:mysql://db/x?user=bob&password={D}&ssl=true",
    f"jdbc:sqlserver://h;user=bob;password={D};encrypt=true",
    f"GET /x?a=1&api_key={D} HTTP/1.1",
    f"/blob?sv=2024&sig={D}&se=1",
    f"https://maps/api?key=AIz{X36}",
    f"curl trace > Authorization: Digest username=x, response={D}",
    f"Cookie: a=b; sid={D}; c=d",
    f"Set-Cookie: sid={D}; Path=/",
    f"Proxy-Authorization: Basic {D}",
    f"X-Vault-Token: {D}",
    f"x-hub-signature: sha1={D}",
    f"got Bearer {D} from client",
    "sent Basic ZHVtbXk6ZHVtbXk=",
    f"token {JWT} expired",
    "gh" + "p_" + X36,
    "github" + "_pat_" + X36,
    "gl" + "pat-" + X36,
    "xox" + "b-1234-" + X36,
    "sk_" + "live_" + X36,
    "AI" + "za" + X36,
    "np" + "m_" + X36,
    "py" + "pi-" + X36,
    "hv" + "s." + X36,
    "AS" + "IA" + "DUMMYDUMMYDUMMY1",
    PEM,
    "-----BEGIN PRIVATE " + "KEY-----\n" + "A" * 64 + "\n" + "B" * 40,
    '{"user":"bob", "db_password": "' + D + r" with \" quote" + '", "n": 1}',
    r'"{\"client_secret\": \"' + D + r'\"}"',
    '{"tokens": ["' + D + '", "b"]}',
    f"password: two {D}",
    f"  - secretKey: '{D}'",
    f"password: |\n  {D}\n  2{D}\nnext: 1",
    f"[db]\npassword = my {D}\nhost = x",
    f"spring.datasource.password=my {D}",
    f"PASSWORD='two {D}' exec app",
    f"PASSWORD='it'\\''s'{D} exec app",
    f"login(user=bob, password={D})",
    f"Config{{password={D}, host=x}}",
    f"<password>{D}</password>",
    f"ALTER USER x IDENTIFIED BY '{D}'",
    f"CREATE USER x PASSWORD '{D}'",
    f"host=db user=bob password={D} dbname=x",
    f"CMD (mysqldump -p{D} orders)",
    f"Command '['mysql', '-p{D}', 'db']' returned 1",
    f'"Cmd": ["redis-server","--requirepass","{D}"]',
    f"app --password {D} --verbose",
    f"app\0--token\0{D}\0-v",
    f"next=%2Flogin%3Ftoken%3D{D}",
    f"requirepass {D}",
    f"user[password]={D}",
    f"AccountName=x;AccountKey={D}==;EndpointSuffix=y",
]


@pytest.mark.parametrize("words", CORPUS + COMMANDS, ids=" ".join)
def test_command_lines(words):
    masked = argv(*words)
    joined = " ".join(masked)
    assert len(masked) == len(words)
    assert MASK in joined
    for secret in (D, JWT, "DUMMYDUMMY"):
        assert secret not in joined


@pytest.mark.parametrize("value", TEXTS)
def test_texts(value):
    masked = text(value)
    assert MASK in masked
    for secret in (D, JWT, X36, "ZHVt", "DUMMYDUMMY", "AAAA", "BBBB"):
        assert secret not in masked


def test_what_surrounds_a_secret_stays():
    assert argv("mysql", "-uroot", f"-p{D}", "db") == ["mysql", "-uroot", f"-p{MASK}", "db"]
    assert argv("curl", "-u", f"bob:{D}", "http://x/") == ["curl", "-u", f"bob:{MASK}", "http://x/"]
    assert argv("sshpass", "-p", D, "ssh", "-p", "22", "h") == ["sshpass", "-p", MASK, "ssh", "-p", "22", "h"]
    assert argv("sh", "-c", f"PASSWORD={D} exec app") == ["sh", "-c", f"PASSWORD={MASK} exec app"]
    assert argv("app", "--password", D, "-v", "--port=1") == ["app", "--password", MASK, "-v", "--port=1"]
    assert text(f"postgresql://bob:{D}@db:5432/x?a=b") == f"postgresql://bob:{MASK}@db:5432/x?a=b"
    assert text(f"/x?a=1&api_key={D}&b=2") == f"/x?a=1&api_key={MASK}&b=2"
    assert text(f'{{"a": "b", "token": "{D}", "n": 1}}') == f'{{"a": "b", "token": "{MASK}", "n": 1}}'
    assert text(f"user=bob, password={D}, host=x") == f"user=bob, password={MASK}, host=x"
    assert text(f"a: 1\npassword: {D}\nb: 2") == f"a: 1\npassword: {MASK}\nb: 2"


def test_counts_name_rules_and_no_values():
    redactor = Redactor()
    redactor.argv(["mysql", f"-p{D}", f"--password={D}"])
    redactor.text(f"http://u:{D}@h and Bearer {D}")
    assert redactor.counts == {"short-flag": 1, "sensitive-key": 1, "url-user-info": 1, "auth-scheme": 1}


# ── what must stay ───────────────────────────────────────────────────────────────────────────────

BENIGN_COMMANDS = """
app --tokenizer=bpe
sh pwd=/home/x
env PWD=/srv OLDPWD=/
grep password file
app --secret-file /etc/x
app --secret-file=/etc/x
java -Dpassword.policy.enabled=true
ssh -p 22 host
scp -P 22 a host:b
tar -pxf a.tar
docker run -p 80:80 nginx
docker run --name mongo -p 27017:27017 mongo
docker run -d --name mysql -p3306:3306 mysql:8
git show 3f786850e387550fdab836ed7e6dc881de23001b
lvdisplay 123e4567-e89b-12d3-a456-426614174000
llm --max-tokens=256
llm --max-tokens 256
setup keyboard=us
book author=me
net bypass=yes
java -Xmx2g -jar order-service.jar
etcd --auth-token simple
mysql -p -u root db
mysql --port=3306 -P3306 db
curl -u bob http://x:8080/y
curl -sSfL -o out https://x/y
npm install @scope/pkg@1.2.3
wget http://images:5000/org/pkg@sha256:abc
ssh git@github.com
git clone git@github.com:org/repo.git
kube-apiserver --authorization-mode=Node,RBAC
java -javaagent:/opt/token-agent.jar=port=9010
docker pull registry.local/acme/auth:1.2.3
java -Djava.security.egd=file:/dev/./urandom
java -Dcom.sun.management.jmxremote.authenticate=false
app SSH_AUTH_SOCK=/tmp/ssh-x/agent.1
app DB_PASSWORD_FILE=/run/secrets/db
app --session-timeout=30m
app --auth=false
app --token-ttl 5m
openssl req -key k.pem -keyout out.pem
sort -k 2 -u file
ps -o pid,sess -p 1
redis-cli -h cache -n 2 ping
zip -r a.zip a
7z x a.7z
app --compass north
postgres: writer process
"""

BENIGN_TEXTS = [
    "at com.acme.auth.TokenService.get(TokenService.java:42)",
    "java.security.InvalidKeyException: Illegal key size",
    "auth.service: Main process exited, code=exited, status=1",
    "connect auth-service:8443/health failed",
    "token == null",
    "the token expired; Basic authentication required, bearer token missing",
    'File "/srv/app/token.py", line 3, in refresh',
    '"session-cleaner" #12 daemon prio=5 os_prio=0 cpu=1.2ms',
    "std::auth::Token::parse",
    '{"token": null, "tokens": 12, "auth": {"enabled": true}}',
    "password policy: 8 letters",
    "mailto:bob@example.com, see http://x/y?email=a@b.c",
    "password=",
    "pyjwt==2.8.0 django-token==1.2",
    "passed: 12, bypassed: 3",
]


@pytest.mark.parametrize("line", BENIGN_COMMANDS.strip().splitlines())
def test_benign_command_lines(line):
    redactor = Redactor()
    assert redactor.argv(line.split(" ")) == line.split(" ")
    assert redactor.text(line) == line
    assert redactor.counts == {}


@pytest.mark.parametrize("value", BENIGN_TEXTS)
def test_benign_texts(value):
    assert text(value) == value


# ── bulk text ────────────────────────────────────────────────────────────────────────────────────


def test_lines_without_secrets_stay_byte_identical():
    clean = "käse\r\n".encode() + b"\xff\xfe \0 raw\n\n  at x.Y(Y.java:1)\n"
    masked = Redactor().lines(clean + f"password={D}\r\n".encode() + clean + f"{PEM}\n".encode() + clean)
    assert masked.count(clean) == 3
    assert D.encode() not in masked
    assert f"password={MASK}\r\n".encode() in masked
    assert Redactor().lines(masked) == masked


# ── length ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "value",
    [
        "a" * (LIMIT + 1),
        "word " * 20_000,
        "é" * LIMIT,
        "\udc80" * LIMIT,
        f"x token={D} " * 5_000,
        "y" * (LIMIT - 4) + f" token={D}",
        "y" * (LIMIT - 12) + f"?token={D}",
        "z" * 200_000,
        "w " * (4 * LIMIT - 5) + f"https://u:{D}{D}@h",
    ],
    ids=lambda value: f"{value[:4]!r}-{len(value)}",
)
def test_a_long_string_is_capped_after_masking(value):
    masked = text(value)
    body, _, rest = masked.rpartition("…[+")
    assert rest.endswith(" bytes]")
    assert len(body.encode("utf-8", "surrogatepass")) <= LIMIT
    assert D[:5] not in masked
    assert argv("x", value)[1] == masked


def test_the_cap_counts_what_it_left_out():
    assert text("a" * 10_000) == "a" * LIMIT + f"…[+{10_000 - LIMIT} bytes]"
    assert text("a" * LIMIT) == "a" * LIMIT


# ── hostile input ────────────────────────────────────────────────────────────────────────────────

FILLERS = """a a: password= http:// eyJ x-a- " ' = - :// @ pass key ://: u:p@ http://u:p token:[ token={ password=a&
<password> password:" \\ \\" %3d mysql_-p_ Bearer_ IDENTIFIED_ -----BEGIN_PRIVATE_KEY----- ?key= ://a:@ é …
(token=)""".split()


@pytest.mark.parametrize("filler", FILLERS)
def test_hostile_input_takes_linear_time(filler):
    filler = filler.replace("_", " ")
    hostile = (filler * (131_072 // len(filler) + 1))[:131_072]
    for look in (text, lambda t: argv("x", t), lambda t: Redactor().lines(t.encode())):
        started = time.process_time()
        look(hostile)
        assert time.process_time() - started < 1  # a quadratic pattern takes minutes


@pytest.mark.parametrize("value", ["", "\0", "\ud800", "=", "--", "-", "--=", "password", "-D", "'", "\\", "://:@"])
def test_odd_strings(value):
    assert text(value) == value
    assert argv(value, value) == [value, value]
    assert argv("curl", "-u", value)[:2] == ["curl", "-u"]
