# The daemon and its tools: no compiler, no shell scripts, no root.
#
#   docker build -t router .
#   docker run -v ./config:/etc/router/config:ro -v ./templates:/etc/router/templates:ro \
#              -v router-ledger:/var/lib/router -p 9091:9091 router run -e prod

FROM python:3.11-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/router
WORKDIR /src
COPY requirements-image.lock ./
RUN /opt/router/bin/pip install --require-hashes -r requirements-image.lock
COPY pyproject.toml README.md ./
COPY router router
RUN /opt/router/bin/pip install --no-deps --no-build-isolation . \
    && /opt/router/bin/pip uninstall --yes hatchling editables pip \
    && find /opt/router -name __pycache__ -prune -exec rm -rf {} + \
    && /opt/router/bin/python -m compileall -q /opt/router/lib

FROM python:3.11-slim
LABEL org.opencontainers.image.title="router" \
      org.opencontainers.image.description="Routes Kafka events to people and analytics by declarative YAML"
RUN groupadd --gid 10001 router \
    && useradd --uid 10001 --gid router --home-dir /etc/router --no-create-home --shell /usr/sbin/nologin router \
    && install -d -o router -g router -m 0750 /var/lib/router /etc/router
COPY --from=build /opt/router /opt/router
ENV PATH=/opt/router/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LEDGER_PATH=/var/lib/router/ledger.db
USER 10001:10001
WORKDIR /etc/router
VOLUME /var/lib/router
EXPOSE 9090 9091
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9091/-/healthy', timeout=2)"]
ENTRYPOINT ["router"]
CMD ["run"]
