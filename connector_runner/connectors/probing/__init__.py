"""What a server can do: as it declares it, as canary queries show it, and which strategy follows from that."""
