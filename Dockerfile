# docker build -t dicebench . && docker run -v "$PWD/results:/dicebench/results" dicebench
FROM python:3.11-bookworm
WORKDIR /dicebench
COPY . .
RUN make .venv/figures.ok
CMD ["make", "figures"]
