"""What a step of each loss costs beside what people use today."""
