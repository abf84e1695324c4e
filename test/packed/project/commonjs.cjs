const mongoose = require('mongoose')
const library = require('mongoose-kms-encrypted')
const use = require('./use.cjs')

void use(mongoose, library)
