"""How a data set is read: as ultralytics reads it, checked at load, shown to trainers as a view of links."""
