"""What every sink shall hold against what it confirmed and what it holds, whatever hint was lost."""
