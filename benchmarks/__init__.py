"""What `uring` costs, beside C and beside others: `python -m benchmarks`, see README.md."""
