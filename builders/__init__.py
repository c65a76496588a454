"""Raw corpora -> CNLE and CSNE."""
