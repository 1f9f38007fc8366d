# docker build -t orisun:local .
# docker build --build-arg VERSION=1.0.0 --build-arg TARGET_OS=linux --build-arg TARGET_ARCH=amd64 -t orisun:local .
FROM golang:1.26-alpine AS build
RUN apk add --no-cache bash git
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
ARG COMMIT=unknown
ARG TARGET_OS=linux
ARG TARGET_ARCH=amd64
RUN VERSION=$VERSION COMMIT=$COMMIT OUT=/out ./build.sh "$TARGET_OS" "$TARGET_ARCH" && mv "/out/orisun-$TARGET_OS-$TARGET_ARCH" /out/orisun
# What a volume is filled with at first: it belongs to the user of the image.
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
ENTRYPOINT ["/orisun"]
