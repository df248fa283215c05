# nakodo: everything a person runs. `make demo` and `make test` do all the set-up they need.

BIN := node_modules/.bin
INSTALLED := node_modules/.package-lock.json
SOURCES := $(shell find protocol device broker session-manager sim bench cli deploy -name '*.ts' \
  -not -path '*/node_modules/*' 2>/dev/null)

.DEFAULT_GOAL := check
.PHONY: demo test check build bundle deb test-arm64 image flash lint fmt trace wire bench bench-against bench-peers bench-scale sim sim-night lab prove sabotage clean

$(INSTALLED): package.json package-lock.json .npmrc
	npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# A fresh out/ each time a source changed, so that the tests of a file that is gone are gone too.
out/.built: $(INSTALLED) tsconfig.json tsconfig.types.json $(SOURCES)
	rm -rf out
	$(BIN)/tsc -p .
	$(BIN)/tsc -p tsconfig.types.json
	@touch $@

build: out/.built

# The patent on real sockets, every scene checked; FILE=path sends a file of yours.
demo: out/.built
	node out/cli/main.js demo $(if $(FILE),"$(FILE)")

# tap needs its own runner built once after each install, as the TypeScript plugin is off.
.tap/plugins/node_modules: $(INSTALLED)
	$(BIN)/tap build >/dev/null
	@mkdir -p $@ && touch $@

# All tests; FILES="out/broker/test/rights.test.js" runs some.
test: out/.built .tap/plugins/node_modules
	$(BIN)/tap --reporter=terse $(FILES)

check: out/.built
	$(BIN)/oxfmt --check .
	$(BIN)/oxlint --type-aware
	$(BIN)/tsc -p tsconfig.pure.json
	node out/protocol/test/house/write-patent-map.js --check
	node out/protocol/test/wire-doc.js --check

fmt: $(INSTALLED)
	$(BIN)/oxfmt .

# What terminals are given: one file, what starts it for a service, the terms of what is in it.
bundle: out/.built
	@node out/deploy/bundle.js

# The package of a terminal, out/deploy/nakodo_<version>_all.deb.
deb: out/.built
	@node out/deploy/deb.js

# The packaged agent on a Pi's processor, under emulation: about 20 s (debootstrap, qemu-user-static).
test-arm64: out/.built .tap/plugins/node_modules
	$(BIN)/tap --reporter=terse out/deploy/test/arm64.test.js

# An image for a card: sudo make image BASE=raspios.img.xz PROVISION=nakodo.toml OUT=pi.img
image: out/.built
	@node out/deploy/image/build.js --base "$(BASE)" --provision "$(PROVISION)" --out "$(OUT)" \
	  $(if $(VERBOSE),--verbose)

# Onto a card, asked before and read back after: sudo make flash DEVICE=/dev/sdX IMAGE=pi.img
flash: out/.built
	@node out/deploy/flash.js --device "$(DEVICE)" --image "$(IMAGE)" --provision "$(PROVISION)"

# Generated documents: docs/patent-map.md and the CDDL of docs/wire.md.
trace: out/.built
	node out/protocol/test/house/write-patent-map.js

wire: out/.built
	node out/protocol/test/wire-doc.js

# Our own figures, with what each means, and the plots of congestion control in bench/plots: all, or
# make bench ONLY=footprint (set-up, trust, transport, aead, congestion, footprint, forward).
bench: out/.built
	node out/bench/main.js --only "$(ONLY)" $(if $(JSON),--json)

# This checkout against an earlier commit, in turn: make bench-against REF=main ONLY=bulk
bench-against: out/.built
	@node out/bench/against.js --ref "$(REF)" --only "$(ONLY)" $(if $(JSON),--json)

# What our transport is measured against; nothing else needs it. Its native parts come built.
bench/peers/node_modules/.package-lock.json: bench/peers/package.json bench/peers/package-lock.json
	cd bench/peers && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# Our transport beside its peers, interleaved: make bench-peers ROUNDS=5 ONLY=ours,udx ON=veth
bench-peers: out/.built bench/peers/node_modules/.package-lock.json
	@node out/bench/peers.js --rounds "$(or $(ROUNDS),3)" --only "$(ONLY)" --on "$(ON)" \
	  $(if $(ROOT),--root "$(ROOT)") $(if $(JSON),--json)

# The simulator: 2,000 worlds in virtual time; then 100,000, which can be stopped and go on. Failing
# seeds are added to sim-failures.txt. make sim SEEDS=100 FROM=5000
sim: out/.built
	@node out/cli/main.js sim --seeds $(or $(SEEDS),2000) --from $(or $(FROM),1) \
	  --failures sim-failures.txt

sim-night: out/.built
	@node out/cli/main.js sim --seeds $(or $(SEEDS),100000) --from $(or $(FROM),1) \
	  --resume sim-night.json --failures sim-failures.txt

# The real program behind real boxes, in network namespaces (docs/lab.md): sudo make lab
# ONLY=matrix,loss JSON=lab.json; PAIRS=port,symmetric:none,port is a part of the matrix.
lab: out/.built
	@node out/sim/lab/main.js --only "$(ONLY)" --pairs "$(PAIRS)" --json "$(JSON)"

# Memory of a terminal, set-ups a second, and what one is made of: make bench-scale RATE=400 N=9000
bench-scale: out/.built
	@node out/bench/scale.js --terminals "$(or $(N),9000)" --rate "$(or $(RATE),400)" \
	  --only "$(ONLY)" $(if $(JSON),--json)

# The full doses of the tests; figures go to docs/proof.md.
prove: out/.built .tap/plugins/node_modules
	NAKODO_PROVE=1 $(BIN)/tap --reporter=terse --timeout=1800 $(FILES)

# Has the simulator find every deliberate bug of sim/sabotage; fails if it misses one.
# make sabotage ONLY=allow-list-cached,nonce-starts-again SEEDS=100 JSON=found.json
sabotage: out/.built
	@node out/sim/sabotage/hunt.js --only "$(ONLY)" --seeds "$(or $(SEEDS),500)" \
	  $(if $(JSON),--json "$(JSON)")

clean:
	rm -rf out .tap
