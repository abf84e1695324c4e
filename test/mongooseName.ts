/** The package by which the Mongoose of this test run is installed, as `MONGOOSE` says: `8`, `8.17`, `9.4`, or the newest where it is not set. */
export const mongooseName = process.env.MONGOOSE ? `mongoose-${process.env.MONGOOSE}` : 'mongoose'
