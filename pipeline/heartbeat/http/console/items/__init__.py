"""The pages of the items of a spider."""
