# Each goal sets up .venv by itself; any of them can be the first. Variables:
#   make figures CORES=4           number of CPU cores that a study uses; all by default
#   make figures PYTHON=python3.12 the Python that .venv is made with
#   make figures TORCH=cpu         torch for CPUs, without the CUDA packages; for a new .venv, which
#                                  keeps the choice
#   make reproduce STUDY=FOLDER    the folder of a finished study; results/quick by default
PYTHON ?= python3
CORES ?= all
VENV = .venv
RUN = . $(VENV)/bin/activate &&
UV = $(VENV)/bin/uv
TORCH ?= $(if $(wildcard $(VENV)/cpu.txt),cpu)

.PHONY: figures paper reproduce slurm test bench docs lint format lock

figures: $(VENV)/figures.ok
	$(RUN) snakemake --cores $(CORES)

# The study as a folder for a manuscript: results/quick/paper/.
paper: $(VENV)/figures.ok
	$(RUN) snakemake paper --cores $(CORES)

# The study again under the name STUDY-again, and the comparison of both.
STUDY ?= results/quick
NAME = $(notdir $(STUDY:/=))
AGAIN = $(patsubst %/,%,$(dir $(STUDY:/=)))/$(NAME)-again
reproduce: $(VENV)/figures.ok
	@test ! -e '$(AGAIN)/runs.csv' || (echo "remove $(AGAIN) first: it is finished"; exit 1)
	$(RUN) python -m experiments compare '$(STUDY)'
	$(RUN) snakemake collect --cores $(CORES) --configfile '$(STUDY:/=)/config.json' --config 'study=$(NAME)-again' 'results=$(dir $(AGAIN))'
	$(RUN) python -m experiments compare '$(STUDY)' '$(AGAIN)'

# For studies on a Slurm cluster: snakemake --profile profiles/slurm.
slurm: $(VENV)/slurm.ok

test: $(VENV)/test.ok
	$(RUN) python -m pytest -n 2 --dist loadfile

bench: $(VENV)/test.ok
	$(RUN) python -m benchmarks.agreement
	$(RUN) python -m benchmarks.losses
	$(RUN) python -m benchmarks.input_path
	$(RUN) python -m benchmarks.code --rev 2f4da69

docs: $(VENV)/figures.ok
	$(RUN) python -m docs.losses_page
	$(RUN) python -m docs.reference
	$(RUN) python -m docs.results_page
	$(RUN) python -m docs.verdict_picture

# The documentation as a website: site/index.html. A broken link or a page that would load anything
# from a network is an error.
.PHONY: site
site: .venv-docs/ok
	.venv-docs/bin/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env docs site
	.venv-docs/bin/python docs/offline.py site
	@echo "open site/index.html"

.venv-docs/ok: requirements-docs.txt $(UV)
	$(UV) venv --quiet --clear --python $(VENV)/bin/python .venv-docs
	$(UV) pip install --python .venv-docs --require-hashes -r requirements-docs.txt
	touch $@

lint: $(VENV)/test.ok
	$(RUN) ruff check . && ruff format --check . && snakefmt --check Snakefile experiments analysis
	@# Two warnings of Snakemake's linter are ignored: every rule has the environment of
	@# requirements.txt, and a rule's params hold only the settings that it depends on.
	$(RUN) ! snakemake --lint 2>&1 | grep '^    \* ' | grep -v -e 'Specify a conda environment' -e 'directly uses variable folder'

format: $(VENV)/test.ok
	$(RUN) ruff check --fix . && ruff format . && snakefmt Snakefile experiments analysis

$(UV): requirements-uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dicebench needs Python 3.11 or newer; $(PYTHON) is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.txt
	touch $(UV)

INSTALL = $(UV) pip install --python $(VENV) --compile-bytecode
ifeq ($(TORCH),cpu)
# The same pins, without torch and its CUDA packages. uv finds torch's builds for CPUs; the hashes in
# requirements.txt are those of other builds, so only the versions of torch and torchvision are fixed.
CUDA = ^(torch|torchvision|triton|cuda-[a-z]+|nvidia-[a-z0-9-]+)==
define install
awk '/^[A-Za-z]/ {cuda = /$(CUDA)/} !cuda' $(1) > $(VENV)/cpu.txt
$(INSTALL) --no-deps --require-hashes -r $(VENV)/cpu.txt
$(INSTALL) --no-deps --torch-backend cpu $$(grep -E '^torch(vision)?==' requirements.in)
$(UV) pip check --python $(VENV)
endef
else
define install
$(INSTALL) --require-hashes -r $(1)
endef
endif

$(VENV)/figures.ok: requirements.txt $(UV)
	$(call install,$<)
	touch $@

$(VENV)/test.ok: requirements-dev.txt $(UV)
	$(call install,$<)
	touch $@

$(VENV)/slurm.ok: requirements-slurm.txt $(VENV)/figures.ok
	$(INSTALL) --require-hashes -r $<
	touch $@

# After editing a requirements*.in: pins and hashes for every platform.
LOCK = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
lock: $(UV)
	$(LOCK) requirements-uv.in -o requirements-uv.txt
	$(LOCK) requirements.in -o requirements.txt
	$(LOCK) requirements-dev.in -o requirements-dev.txt
	$(LOCK) requirements-slurm.in -o requirements-slurm.txt
	$(LOCK) requirements-docs.in -o requirements-docs.txt
