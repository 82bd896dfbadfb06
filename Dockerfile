# docker build -t keras_dcgan .                              for CPUs
# docker build -t keras_dcgan --build-arg 'EXTRA=[cuda]' .   for NVIDIA GPUs, with --gpus all below; '[heic,parquet]' likewise
# docker run --rm -u "$(id -u):$(id -g)" -v "$PWD:/work" keras_dcgan fit --data imgs
# docker run --rm -p 8000:8000 -v "$PWD:/work" keras_dcgan export.web --run runs/imgs --host 0.0.0.0    then http://localhost:8000
FROM python:3.12-slim
ARG EXTRA=""
COPY . /src
RUN pip install --no-cache-dir "/src${EXTRA}" && rm -r /src
WORKDIR /work
ENV HOME=/tmp KERAS_DCGAN_CACHE=/work/.cache
ENTRYPOINT ["keras-dcgan"]
CMD ["--help"]
