# syntax=docker/dockerfile:1
# The modc command for CI jobs: docs/how_to/ci.md
FROM python:3.11-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY compiler compiler
COPY calibration calibration
# Byte code and the tests of the packages would make a sixth of it.
RUN python -m venv /opt/modc \
    && /opt/modc/bin/pip install --no-cache-dir --no-compile . \
    && /opt/modc/bin/pip uninstall --yes pip setuptools \
    && find /opt/modc -type d '(' -name test -o -name tests ')' -prune -exec rm -r '{}' +

FROM python:3.11-slim
COPY --from=build /opt/modc /opt/modc
ENV PATH=/opt/modc/bin:$PATH HOME=/tmp
USER 1000:1000
WORKDIR /project
ENTRYPOINT ["modc"]
CMD ["--help"]
