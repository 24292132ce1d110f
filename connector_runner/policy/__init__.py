"""What a patient and the law allow; pure rules over facts that are handed in."""
