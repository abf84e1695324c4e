const database = process.env.DATABASE
throw new TypeError(`There is no ${database}`)
