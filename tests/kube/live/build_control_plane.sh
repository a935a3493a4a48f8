#!/bin/bash
# Build a real Kubernetes control plane (1.20.2) from Debian 12's packages, for the live tests:
#
#     tests/kube/live/build_control_plane.sh [DIR]      # as root, on a bare Debian 12
#     SIMGIT_TEST_CONTROL_PLANE=DIR pytest -m live tests/kube/live
#
# DIR (./control-plane) gets bin/ with etcd, kube-apiserver, kube-scheduler and
# kube-controller-manager (280 MB), and build/, which may be deleted afterwards (3 GB). It takes 12
# minutes of one core. Each part is skipped if its result is there. Set APT= to install nothing.
# It needs no root when the packages are there already.
set -euo pipefail

version=1.20.5+really1.20.2-1.1+deb12u1
dir=$(realpath -m "${1:-control-plane}")
build=$dir/build bin=$dir/bin
source=$build/gopath/src/k8s.io/kubernetes
mkdir -p "$build" "$bin"

if [ -n "${APT-apt-get}" ]; then
    cat >/etc/apt/sources.list.d/simgit-control-plane.sources <<-END
	Types: deb-src
	URIs: http://deb.debian.org/debian
	Suites: bookworm
	Components: main
	Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
	END
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        etcd-server golang-1.19-go golang-github-modern-go-reflect2-dev \
        golang-github-json-iterator-go-dev dpkg-dev openssl
fi

if [ ! -e "$source/.ready" ]; then
    rm -rf "$source"
    mkdir -p "$(dirname "$source")"
    (cd "$build" && apt-get source --download-only "kubernetes=$version")
    dpkg-source --no-check -x "$build"/kubernetes_*.dsc "$source"
    # those of 2018 do not work with Debian's Go: the server dies at the first custom resource
    for package in modern-go/reflect2 json-iterator/go; do
        rm -rf "$source/vendor/github.com/$package"
        cp -rL "/usr/share/gocode/src/github.com/$package" "$source/vendor/github.com/$package"
    done
    touch "$source/.ready"
fi

export GOPATH=$build/gopath GOCACHE=$build/cache GO111MODULE=off GOFLAGS= CGO_ENABLED=0
export PATH=/usr/lib/go-1.19/bin:$PATH
cd "$source"

openapi=pkg/generated/openapi/zz_generated.openapi.go
if [ ! -e $openapi ]; then
    go build -p 1 -o "$build/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
    # the packages with the tag, under the names by which they are imported
    packages=$(grep -rl --include='*.go' '+k8s:openapi-gen=' pkg staging/src |
        grep -v -e /testdata/ -e _test.go -e code-generator/ -e sample-apiserver/ |
        xargs -n 1 dirname | sort -u |
        sed -e 's|^staging/src/|k8s.io/kubernetes/vendor/|' -e 's|^pkg/|k8s.io/kubernetes/pkg/|' |
        paste -sd ,)
    "$build/openapi-gen" --go-header-file hack/boilerplate/boilerplate.generatego.txt \
        --input-dirs "$packages" --output-package k8s.io/kubernetes/pkg/generated/openapi \
        --output-file-base zz_generated.openapi --output-base "$GOPATH/src" \
        --report-filename "$build/openapi-violations"
fi

stamp=
for package in k8s.io/kubernetes/vendor/k8s.io/client-go/pkg/version \
    k8s.io/kubernetes/vendor/k8s.io/component-base/version; do
    stamp+=" -X $package.gitVersion=v1.20.2 -X $package.gitMajor=1 -X $package.gitMinor=20"
done
for name in kube-apiserver kube-scheduler kube-controller-manager; do
    [ -e "$bin/$name" ] || go build -p "${JOBS:-1}" -ldflags "-s -w$stamp" -o "$bin/$name" "./cmd/$name"
done
cp /usr/bin/etcd "$bin/etcd"
ls -l "$bin"
