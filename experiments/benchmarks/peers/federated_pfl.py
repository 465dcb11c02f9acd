"""A round of FedAvg in pfl-research's simulation, with PyTorch."""

import numpy as np
import torch
from federated_case import draw, summary
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNTrainHyperParams
from pfl.model.pytorch import PyTorchModel
from worker import serve

torch.set_num_threads(1)


class Net(torch.nn.Sequential):
    """A perceptron as pfl wants it."""

    def loss(self, x, y):
        """Mean cross-entropy."""
        self.train()
        return torch.nn.functional.cross_entropy(self(x), y)

    def metrics(self, x, y):
        """Nothing: only training is timed."""
        return {}


def prepare(case):
    """Draw the clients, run one round and report the change."""
    layers, clients = draw(case)
    modules = []
    for w, b in layers:
        linear = torch.nn.Linear(*w.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(w.T))
            linear.bias.copy_(torch.from_numpy(b))
        modules += [linear, torch.nn.ReLU()]
    net = Net(*modules[:-1])
    data = [(torch.from_numpy(x), torch.from_numpy(y).long()) for x, y in clients]
    users = list(range(len(clients)))
    dataset = FederatedDataset(lambda user: Dataset(data[user]), get_user_sampler("minimize_reuse", users))
    backend = SimulatedBackend(dataset, None, postprocessors=[WeightByDatapoints()])
    model = PyTorchModel(net, torch.optim.SGD, torch.optim.SGD(net.parameters(), lr=1.0))
    setting = NNTrainHyperParams(
        local_num_epochs=case["epochs"], local_learning_rate=case["rate"], local_batch_size=case["batch"]
    )
    plan = NNAlgorithmParams(
        central_num_iterations=1, evaluation_frequency=10**9, train_cohort_size=len(users), val_cohort_size=0
    )

    def step():
        FederatedAveraging().run(plan, backend, model, setting, send_metrics_to_platform=False)

    step()
    after = [(linear.weight.detach().numpy().T, linear.bias.detach().numpy()) for linear in modules[::2]]
    return step, summary(layers, [[np.ascontiguousarray(p) for p in layer] for layer in after])


serve(prepare)
