from .executions import executions as executions
from .expectation import expectation as expectation
