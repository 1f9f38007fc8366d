# docker build -t orisun:local .
# docker build --platform linux/arm64 -t orisun:local .
#
# Version and commit are those of the checkout's git. A source archive has no git: add --build-arg VERSION=1.0.0
# --build-arg COMMIT=…
FROM --platform=$BUILDPLATFORM golang:1.26-alpine AS build
RUN apk add --no-cache bash git
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION COMMIT
# BuildKit sets these two to the platform of the image. TARGET_OS and TARGET_ARCH replace them.
ARG TARGETOS TARGETARCH
ARG TARGET_OS=${TARGETOS:-linux}
ARG TARGET_ARCH=${TARGETARCH:-amd64}
RUN OUT=/out ./build.sh "$TARGET_OS" "$TARGET_ARCH" && mv "/out/orisun-$TARGET_OS-$TARGET_ARCH" /out/orisun
# A new volume starts as a copy of this folder, so it belongs to the image's user.
RUN mkdir -p /out/data

# Nothing but the binary: the image expects a PostgreSQL elsewhere (ORISUN_PG_HOST).
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/orisun /orisun
COPY --from=build --chown=65532:65532 /out/data /var/lib/orisun/data
USER 65532:65532
WORKDIR /var/lib/orisun
ENV ORISUN_NATS_STORE_DIR=/var/lib/orisun/data/nats
VOLUME /var/lib/orisun/data
# gRPC, admin HTTP
EXPOSE 5005 8991
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/orisun", "health"]
ENTRYPOINT ["/orisun"]
