"""Every form of a mask and every conversion between forms."""
