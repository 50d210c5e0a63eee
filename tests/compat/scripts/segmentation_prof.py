"""Measure a segmentation network: the pattern of the published profilers.

One model, stream and thread for each instance; zeros as images; latency mode with queue size 0.
"""

import argparse
import ast
import time
from queue import Queue
from threading import Thread

import numpy as np
import vaststreamx as vsx


class Network:
    def __init__(
        self,
        prefix: str,
        vdsp_params: str,
        batch: int,
        device: int,
        output_type: vsx.GraphOutputType = vsx.GraphOutputType.GRAPH_OUTPUT_TYPE_NCHW_DEVICE,
    ) -> None:
        self.device = device
        assert vsx.set_device(device) == 0
        self.model = vsx.Model(prefix, batch, "")
        self.operator = vsx.ModelOperator(self.model)
        graph = vsx.Graph(output_type=output_type)
        graph.add_operators(*vsx.Operator.load_ops_from_json_file(vdsp_params), self.operator)
        self.stream = vsx.Stream(graph, vsx.StreamBalanceMode.RUN)
        self.stream.register_operator_output(self.operator)
        self.stream.build()

    def get_test_data(
        self, dtype: str, shape: list[int], batch: int, ctx: str = "VACC"
    ) -> list[vsx.Image]:
        assert ctx == "VACC"
        height, width = shape[-2:]
        zeros = np.zeros((height, width, 3), dtype)
        form = vsx.ImageFormat.BGR_INTERLEAVE
        return [vsx.create_image(zeros, form, width, height, self.device)] * batch


def measure(network: Network, args: argparse.Namespace, latencies: list[float]) -> None:
    batch = args.batch_size or network.model.max_batch_size
    images = network.get_test_data("uint8", network.model.input_shape[0], batch)
    if args.queue_size == 0:
        for _ in range(args.iterations):
            start = time.perf_counter()
            network.stream.run_sync(images)
            latencies.append(time.perf_counter() - start)
        return
    starts: Queue[float] = Queue(args.queue_size)

    def read() -> None:
        while True:
            try:
                outputs = network.stream.get_operator_output(network.operator)
            except ValueError:
                return
            assert len(outputs) == batch
            latencies.append(time.perf_counter() - starts.get())

    reader = Thread(target=read)
    reader.start()
    for _ in range(args.iterations):
        starts.put(time.perf_counter())
        network.stream.run_async(images)
    network.stream.close_input()
    network.stream.wait_until_done()
    reader.join()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-m", "--model_prefix", required=True)
    parser.add_argument("--vdsp_params", required=True)
    parser.add_argument("--hw_config", default="")
    parser.add_argument("-d", "--device_ids", default="[0]")
    parser.add_argument("-b", "--batch_size", type=int, default=1)
    parser.add_argument("-i", "--instance", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=1024)
    parser.add_argument("--queue_size", type=int, default=1)
    parser.add_argument("--percentiles", default="[50, 90, 95, 99]")
    args = parser.parse_args()
    devices = ast.literal_eval(args.device_ids)

    networks = [
        Network(args.model_prefix, args.vdsp_params, args.batch_size, devices[i % len(devices)])
        for i in range(args.instance)
    ]
    latencies: list[float] = []
    threads = [Thread(target=measure, args=(one, args, latencies)) for one in networks]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start

    samples = len(latencies) * args.batch_size
    print(f"- number of instances: {args.instance}")
    print(f"  devices: {devices}")
    print(f"  queue size: {args.queue_size}")
    print(f"  batch size: {args.batch_size}")
    print(f"  throughput (qps): {samples / seconds:.2f}")
    print("  latency (us):")
    print(f"    avg latency: {np.mean(latencies) * 1e6:.0f}")
    for percentile in ast.literal_eval(args.percentiles):
        print(f"    p{percentile} latency: {np.percentile(latencies, percentile) * 1e6:.0f}")


if __name__ == "__main__":
    main()
