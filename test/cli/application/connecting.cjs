const mongoose = require('mongoose')

mongoose.connect(process.env.DATABASE)
