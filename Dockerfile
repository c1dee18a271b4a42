# The program from the locks, in an image that runs as a user without rights.
FROM python:3.12.13-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements.txt requirements-dev.txt ./
RUN python -m venv /opt/millrace \
  && /opt/millrace/bin/python -m pip install --require-hashes --only-binary :all: --requirement requirements.txt
# The build backend comes from the lock as well, so that nothing unpinned is fetched.
RUN awk '/^uv-build==/ { on = 1 } on { print } on && !/\\$/ { exit }' requirements-dev.txt > build.txt \
  && python -m pip install --require-hashes --only-binary :all: --requirement build.txt
COPY pyproject.toml README.md LICENSE ./
COPY pipeline ./pipeline
COPY sinks ./sinks
COPY billing ./billing
COPY queries ./queries
COPY api ./api
COPY dashboards ./dashboards
COPY cli ./cli
COPY benchmarks ./benchmarks
RUN python -m pip wheel --no-deps --no-index --no-build-isolation --wheel-dir dist . \
  && /opt/millrace/bin/python -m pip install --no-deps --no-index dist/*.whl \
  && /opt/millrace/bin/python -m pip uninstall --yes pip

FROM python:3.12.13-slim-trixie
RUN groupadd --gid 10001 millrace \
  && useradd --uid 10001 --gid millrace --no-create-home --home-dir /var/lib/millrace millrace \
  && install -d -o millrace -g millrace /var/lib/millrace
COPY --from=build /opt/millrace /opt/millrace
# Compiled kernels are kept where the user may write; the rest of the image can be read-only.
ENV PATH=/opt/millrace/bin:$PATH PYTHONUNBUFFERED=1 NUMBA_CACHE_DIR=/var/lib/millrace/kernels
USER 10001:10001
WORKDIR /var/lib/millrace
ENTRYPOINT ["millrace"]
CMD ["--help"]
