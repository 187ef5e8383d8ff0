"""The manifest, the contract: its columns (`columns`) and its Parquet parts (`part`)."""
