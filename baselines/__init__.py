"""The four GANs that the paper's Table 1 compares IIDM with: GauGAN, CLADE, SEAN and SCGAN, in one trunk."""
