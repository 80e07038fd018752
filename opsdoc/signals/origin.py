"""Whose code a frame is: the user's own, a library's or the runtime's; and the first frame worth looking at.

A guess by name, from the fixed tables below, so that a replay says what the live run said. What no table knows is
the user's own: a library taken for the user's code still names a place near the cause, the other way round hides it.
Where all is library code (a Kafka broker, a project of the Apache foundation, a company's package installed into
site-packages or below /usr/lib/python3/dist-packages), `first_app` falls back to the library's frame.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from opsdoc.model import Frame, Origin

Runtime = Literal["java", "python"]

# ── Java: by package ─────────────────────────────────────────────────────────────────────────────

# The longest name decides, so com.sun.jersey is a library although com.sun is the runtime. Names of whole companies
# stand here only if hardly anybody but their customers runs their code: com.google, com.alibaba and com.netflix do not.
_JAVA_RUNTIME = """
java javax jdk sun com.sun jrockit org.graalvm com.oracle.svm com.oracle.truffle org.ietf.jgss org.w3c.dom org.xml.sax
"""
_JAVA_LIBRARY = """
javax.activation javax.annotation javax.batch javax.cache javax.ejb javax.el javax.enterprise javax.faces javax.inject
javax.interceptor javax.jms javax.json javax.mail javax.persistence javax.resource javax.servlet javax.transaction
javax.validation javax.websocket javax.ws javax.xml.bind javax.xml.ws jakarta com.sun.enterprise com.sun.faces
com.sun.grizzly com.sun.istack com.sun.jersey com.sun.jna com.sun.mail com.sun.xml.bind com.sun.xml.ws

ch.qos.logback cn.hutool com.alibaba.arthas com.alibaba.cloud com.alibaba.csp com.alibaba.druid com.alibaba.dubbo
com.alibaba.excel com.alibaba.fastjson com.alibaba.fastjson2 com.alibaba.nacos com.alibaba.rocketmq com.alibaba.ttl
com.amazonaws com.appdynamics com.azure com.baomidou com.carrotsearch com.clickhouse com.codahale com.couchbase
com.ctrip.framework.apollo com.datadog com.datastax com.dynatrace com.esotericsoftware com.fasterxml
com.github.benmanes.caffeine com.github.luben.zstd com.github.pagehelper com.google.api com.google.auth
com.google.cloud com.google.common com.google.gson com.google.inject com.google.protobuf com.google.re2j
com.googlecode com.hazelcast com.ibm.db2 com.ibm.icu com.ibm.mq com.ibm.ws com.itextpdf com.jayway.jsonpath
com.jcraft com.lmax.disruptor com.lowagie com.mchange com.microsoft.azure com.microsoft.sqlserver com.mongodb
com.mysql com.netflix.client com.netflix.config com.netflix.discovery com.netflix.hystrix com.netflix.loadbalancer
com.netflix.zuul com.newrelic com.opencsv com.rabbitmq com.rometools com.squareup com.tangosol com.taobao.arthas
com.thoughtworks.xstream com.twitter.finagle com.twitter.util com.typesafe com.vaadin com.xxl.job.core com.zaxxer

io.airlift io.confluent io.debezium io.dropwizard io.etcd io.fabric8 io.github.resilience4j io.grpc io.helidon
io.jaegertracing io.javalin io.jsonwebtoken io.ktor io.kubernetes io.lettuce io.micrometer io.micronaut io.minio
io.nats io.netty io.opencensus io.opentelemetry io.opentracing io.perfmark io.prometheus io.quarkus io.r2dbc
io.reactivex io.rsocket io.seata io.sentry io.smallrye io.swagger io.trino io.undertow io.vertx io.zipkin

net.bytebuddy net.jodah net.jpountz net.logstash.logback net.minidev net.openhft net.rubyeye.xmemcached net.sf
net.spy.memcached

org.HdrHistogram org.LatencyUtils org.activiti org.antlr org.apache org.aspectj org.bouncycastle org.bson org.camunda
org.codehaus org.dom4j org.drools org.eclipse org.ehcache org.elasticsearch org.flowable org.flywaydb org.glassfish
org.h2 org.hibernate org.hsqldb org.infinispan org.influxdb org.jboss org.jctools org.jdom org.jdom2 org.jetbrains
org.jgroups org.joda.time org.jooq org.jruby org.json org.jsoup org.junit org.keycloak org.kie org.mariadb
org.mockito org.modelmapper org.mongodb org.mozilla.javascript org.mybatis org.neo4j org.objectweb.asm org.objenesis
org.opensearch org.postgresql org.python org.quartz org.reactivestreams org.redisson org.rocksdb org.slf4j
org.springframework org.sqlite org.terracotta org.testng org.thymeleaf org.wildfly org.xerial org.xnio org.yaml
org.zeromq

akka antlr brave clojure feign freemarker gnu.trove groovy groovyjarjarantlr groovyjarjarasm it.unimi.dsi.fastutil
javassist junit kotlin kotlinx ognl okhttp3 okio oracle.jdbc oracle.net oracle.ucp oshi reactor redis.clients
retrofit2 rx scala software.amazon weblogic zio zipkin2
"""
_JAVA: dict[str, Origin] = {
    **dict.fromkeys(_JAVA_RUNTIME.split(), "runtime"),
    **dict.fromkeys(_JAVA_LIBRARY.split(), "library"),
}

# Classes made at run time stand in the package of the user's class but have no line that one could go to.
_JAVA_MADE_BY_RUNTIME = re.compile(r"\$\$Lambda\b|(?:^|\.)\$Proxy\d+\.")
_JAVA_MADE_BY_LIBRARY = re.compile(
    r"\$\$(?:EnhancerBy|FastClassBy|SpringCGLIB|KeyFactoryBy)"
    r"|\$HibernateProxy\$|\$ByteBuddy\$|_\$\$_(?:jvst|javassist|Weld)"
)


def java_origin(function: str) -> Origin:
    """Whose the method is, by its full name without the module, `com.acme.OrderPricer.recalculate`."""
    if _JAVA_MADE_BY_RUNTIME.search(function):
        return "runtime"
    if _JAVA_MADE_BY_LIBRARY.search(function):
        return "library"
    end = min(len(function), 200)
    while (end := function.rfind(".", 0, end)) > 0:
        origin = _JAVA.get(function[:end])
        if origin is not None:
            return origin
    return "app"


# ── Python: by file ──────────────────────────────────────────────────────────────────────────────

# Looked at before the standard library, which lies in a parent folder: lib/python3.11/site-packages. `.deps` and
# installed_wheels are PEX.
_PYTHON_LIBRARY = re.compile(r"(?:^|/)(?:site-packages|dist-packages|installed_wheels|\.deps|__pypackages__)/")
# /usr/lib/python3.11, ~/.pyenv/versions/3.11.4/lib/python3.11, lib64, python3.13t, python311.zip, and PyPy.
_PYTHON_RUNTIME = re.compile(
    r"/(?:lib|lib64)/(?:python|pypy)\d\.\d{1,3}t?/|/python\d{2,4}\.zip/|/lib-python/\d|/lib_pypy/"
)
# A file name between <> is no file. Generated methods (dataclass, namedtuple, attrs) and frozen modules are no code
# that a user could go to, but what was typed in or rendered from a template is.
_PYTHON_TYPED_IN = re.compile(r"<(?:stdin|console|ipython-input|doctest|template|unknown)\b")
_PYTHON_MADE_BY_LIBRARY = re.compile(r"<(?:__array_function__|decorator-gen|boltons|makefun|sqlalchemy)\b")

# The text of py-spy shortens a file to its path below the package's root (threading.py, django/core/handlers/base.py),
# so only names remain. Modules whose names people like to give their own files (code, test, types, token) are left out.
_PYTHON_RUNTIME_NAMES = """
abc ast asyncio asyncore base64 bdb bisect cProfile codecs collections concurrent configparser contextlib copy csv
ctypes dataclasses datetime decimal email encodings enum fnmatch fractions ftplib functools gettext glob gzip
hashlib heapq hmac html http imaplib importlib inspect ipaddress json linecache logging lzma multiprocessing
optparse pathlib pickle pkgutil poplib posixpath pprint queue random re runpy sched selectors shelve shutil smtplib
socket socketserver sqlite3 sre_compile sre_parse ssl statistics string subprocess tarfile tempfile textwrap
threading timeit traceback unittest urllib uuid weakref wsgiref xml xmlrpc zipfile zipimport
"""
_PYTHON_LIBRARY_NAMES = """
aio_pika aiohttp aiokafka alembic amqp anyio apscheduler asgiref asyncpg attr billiard boto3 botocore bs4 cassandra
celery cheroot cherrypy click confluent_kafka cryptography dask django dramatiq elasticsearch eventlet falcon
fastapi flask gevent google greenlet grpc gunicorn h11 h2 httpcore httptools httpx huey hypercorn jinja2 joblib
jsonschema jwt kafka kazoo kombu lxml mako markupsafe matplotlib motor msgpack mysql numba numpy opentelemetry
orjson pandas paramiko peewee pika PIL prometheus_client psutil psycopg psycopg2 pyarrow pydantic pymongo pymysql
redis requests rest_framework rq s3transfer sanic scipy sentry_sdk simplejson sklearn sqlalchemy starlette
structlog tenacity tensorflow torch tornado transformers twisted urllib3 uvicorn uvloop uwsgi waitress websocket
websockets werkzeug wrapt yaml yarl zmq
"""
_PYTHON: dict[str, Origin] = {
    **dict.fromkeys(_PYTHON_RUNTIME_NAMES.split(), "runtime"),
    **dict.fromkeys(_PYTHON_LIBRARY_NAMES.split(), "library"),
}
_PYTHON_NATIVE = re.compile(r"(?:^|/)(lib(?:python|c|m|pthread)(?=[\d.-]))?[^/]*\.so(?:\.\d+)*$")


def python_origin(filename: str | None) -> Origin:
    """Whose the file is, by its path as Python knows it (JSON of py-spy) or shortened to the package (its text).

    No file (None) is the runtime: the interpreter or a C function.
    """
    if filename is None or filename.startswith("<"):
        return _no_file(filename or "")
    if _PYTHON_LIBRARY.search(filename):
        return "library"
    if _PYTHON_RUNTIME.search(filename):
        return "runtime"
    native = _PYTHON_NATIVE.search(filename)
    if native:
        return "runtime" if native[1] else "library"
    package, slash, _ = filename.partition("/")
    origin = _PYTHON.get(package if slash else package.removesuffix(".py"), "app")
    # A single file is never a library: kafka.py and redis.py are people's own.
    return "app" if origin == "library" and not slash else origin


def _no_file(filename: str) -> Origin:
    if _PYTHON_TYPED_IN.match(filename):
        return "app"
    return "library" if _PYTHON_MADE_BY_LIBRARY.match(filename) else "runtime"


# ── both ─────────────────────────────────────────────────────────────────────────────────────────


@lru_cache(maxsize=4096)
def classify(frames: tuple[Frame, ...], runtime: Runtime) -> tuple[Frame, ...]:
    """The same frames, each with its origin. Hundreds of threads wait in equal stacks."""
    known = tuple([_with_origin(frame, runtime) for frame in frames])
    if runtime == "java":
        return known
    # `python -c` calls its program `<string>`, as dataclasses do their methods. If nothing else is anybody's, it is it.
    if all(frame.origin == "runtime" for frame in known):
        return tuple([frame._replace(origin="app") if _is_program(frame) else frame for frame in known])
    return known


def _with_origin(frame: Frame, runtime: Runtime) -> Frame:
    return frame._replace(origin=java_origin(frame.function) if runtime == "java" else python_origin(frame.file))


def _is_program(frame: Frame) -> bool:
    return frame.file == "<string>" and not frame.function.startswith("__")


def first_app(frames: Sequence[Frame]) -> Frame | None:
    """The first frame of the user's own code, else the first of a library, else None. Frames are innermost first."""
    for wanted in ("app", "library"):
        for frame in frames:
            if frame.origin == wanted:
                return frame
    return None
